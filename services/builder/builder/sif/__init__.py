"""SIF files, made of built images."""
