"""Calls of the registry-proxy."""
