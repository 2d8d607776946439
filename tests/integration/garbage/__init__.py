"""Tests of `swell.garbage` with real backends."""
