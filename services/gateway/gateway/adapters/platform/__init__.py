"""Seqera Platform: requests through its pairing socket, through another gateway, or directly."""
