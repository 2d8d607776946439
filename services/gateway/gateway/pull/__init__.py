"""Pull an image with a token."""
