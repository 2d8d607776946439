"""The conda-direct engine: it turns conda packages into image layers without running a container."""
