"""Serving the bytes of blobs: transfers from registries, the disk spool, the object store, and access checks."""
