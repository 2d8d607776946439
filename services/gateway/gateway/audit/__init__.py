"""The audit trail: who has done what, in a chain of batches that cannot be changed without a trace."""
