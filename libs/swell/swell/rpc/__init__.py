"""gRPC calls between services. gRPC reads its environment variables at import, so they are set here."""

import os

# Services start processes by fork and exec, never by fork alone: gRPC's fork support would only log warnings.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
