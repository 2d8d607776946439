"""Read gzip and tar files of strangers within limits."""
