"""Programs for contributors. The Makefile runs them; no service imports them."""
