"""Calls between services. gRPC reads its environment when it is first imported, so that is set here."""

import os

# Our processes start others by fork and exec, never by fork alone: gRPC need not get ready for that, nor talk of it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
