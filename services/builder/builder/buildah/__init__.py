"""The engine that runs buildah in a sandbox."""
