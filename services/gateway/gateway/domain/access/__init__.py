"""Identities, keys, credentials and who may read what; no I/O."""
