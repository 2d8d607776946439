"""Swell's embedded mode: real backends and the five services as child processes of one command."""
