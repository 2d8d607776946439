"""A registry that misbehaves as its table says, for tests of every client of registries."""
