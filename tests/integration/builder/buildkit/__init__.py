"""The BuildKit engine."""
