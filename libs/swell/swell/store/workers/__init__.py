"""What workers publish about themselves regularly."""
