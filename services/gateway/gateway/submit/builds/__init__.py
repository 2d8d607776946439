"""Find, start and dispatch the builds of a request."""
