"""Keys and records."""
