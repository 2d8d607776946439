"""The child processes of a stack: programs, users, probes and restarts."""
