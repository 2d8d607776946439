"""Builds: their jobs, logs, events and workers."""
