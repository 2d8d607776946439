"""Programs, started as processes: their first seconds, and their names."""
