"""The buildah engine."""
