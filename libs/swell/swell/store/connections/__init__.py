"""The connections to Redis and to the object store."""
