"""Tests of `gateway.wave_import` without a backend."""
