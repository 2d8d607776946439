"""Adapters for access control: accounts and API keys in files, grants and limits in Redis."""
