"""Rules for the members of a container request."""
