"""Who sends a request, which images it may read, and how much one client may use."""
