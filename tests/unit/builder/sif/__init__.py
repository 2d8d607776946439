"""SIF files."""
