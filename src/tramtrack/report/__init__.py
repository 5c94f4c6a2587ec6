"""One HTML file that says what was found and what cannot be said."""
