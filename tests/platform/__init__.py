"""A stand-in for Seqera Platform: a program of its own, which the tests start and control over HTTP."""
