"""What BuildKit reports about the origin of an image."""
