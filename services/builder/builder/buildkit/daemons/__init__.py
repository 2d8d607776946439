"""buildkitd in its sandbox: start, limits, and a pool of running daemons."""
