"""What is trained, on what, and the loop that does it."""
