"""The engine that makes image layers of conda packages, without a container."""
