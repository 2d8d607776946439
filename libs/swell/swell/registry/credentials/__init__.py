"""Credentials for registries: where they come from, and which principal may use them."""
