"""The intake: which files are views of whom, what is known of them, and who is in which fold."""
