"""Backup and restore of everything that Swell stores: `python -m swell.backup`.

A backup is a folder. What refers to something is read before it: records in Redis, then streams, objects, and images of
the registry. So a backup that is made while Swell works has all that its records name.
"""
