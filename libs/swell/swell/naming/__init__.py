"""Names and ids of builds, computed from their inputs. Without I/O: the gateway and `swell name` share this."""
