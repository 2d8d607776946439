"""Scans of images: request them, judge their results, and read their records."""
