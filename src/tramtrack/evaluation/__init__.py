"""How well a network did, how sure that is, and what may be said of two; arrays in, sentences out."""
