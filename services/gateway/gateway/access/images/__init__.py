"""Which images a client may read or push."""
