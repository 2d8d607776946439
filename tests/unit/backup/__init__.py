"""Tests of `swell.backup` without backends."""
