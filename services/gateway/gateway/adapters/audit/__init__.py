"""The audit trail in NATS, and its local copy."""
