"""Talking to OCI registries: who we are to them, and how to ask."""
