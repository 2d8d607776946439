"""Tests of `gateway.operate`."""
