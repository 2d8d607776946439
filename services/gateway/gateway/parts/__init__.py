"""Wires the use cases of the gateway with their adapters; `__main__` serves them."""
