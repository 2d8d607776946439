"""Builds: their records, status and logs, cancellation, and downloads of SIF files."""
