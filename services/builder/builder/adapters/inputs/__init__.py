"""What a build reads: contexts, secrets, auth files and configs of base images."""
