"""From a file to a network's input, and the way back to the original pixels."""
