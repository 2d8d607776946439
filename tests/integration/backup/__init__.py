"""Tests of `swell.backup` with real backends."""
