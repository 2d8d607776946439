"""The data types and rules of conda packages; no I/O."""
