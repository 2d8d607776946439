"""Reading an image's indexes and manifests: limits, checks of nesting and platforms, and stored documents."""
