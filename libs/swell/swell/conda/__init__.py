"""Conda: match specifications, the texts that name packages."""
