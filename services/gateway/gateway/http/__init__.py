"""Parts of HTTP that several handlers share: bodies, callers, errors, middleware and streams."""
