"""Conversion of built images to SIF files."""
