"""What buildkitd can connect to: the egress proxy, the push gateway, registries of this machine."""
