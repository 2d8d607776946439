"""Counts of pulls, and queries of usage at the metrics service."""
