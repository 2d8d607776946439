"""The table of the odd registry: one row for each misbehaviour, with its right answer."""

from swell.testing.odd_registry.authentication import AUTHENTICATION
from swell.testing.odd_registry.blobs import BLOBS
from swell.testing.odd_registry.manifests import HEADS, MANIFESTS
from swell.testing.odd_registry.redirects import LIMITS, REDIRECTS

ROWS = (*HEADS, *MANIFESTS, *REDIRECTS, *BLOBS, *LIMITS, *AUTHENTICATION)
