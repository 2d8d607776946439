"""The BuildKit engine: rootless buildkitd in a sandbox, one build at a time a daemon."""
