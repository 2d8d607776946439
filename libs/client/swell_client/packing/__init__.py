"""Pack folders into the contexts and layers of requests: the same files always give the same bytes."""

from swell_client.packing.docker_ignore import DockerIgnore
from swell_client.packing.pack import CONTEXT_LIMIT, PackedLayer, PackError, pack, pack_context, pack_layer

__all__ = ["CONTEXT_LIMIT", "DockerIgnore", "PackError", "PackedLayer", "pack", "pack_context", "pack_layer"]
