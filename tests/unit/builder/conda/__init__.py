"""The engine of Conda packages."""
