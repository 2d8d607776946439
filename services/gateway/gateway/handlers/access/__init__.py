"""HTTP: accounts, keys, credentials, sessions and pairing."""
