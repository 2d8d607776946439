"""HTTP controllers, by path: they decode a request, call a use case and encode its result."""
