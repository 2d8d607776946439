"""`python -m tests.bench [NAME …]`: each bar of the house beside its peer, measured in the same run."""
