"""The nouns and rules of conda packages; no I/O."""
