"""Attach signatures, provenance and SBOMs to images."""
