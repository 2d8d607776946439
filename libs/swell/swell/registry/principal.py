"""Credential principals: whose credentials may be used for a request to a registry.

Caches, locks and shared transfers whose content depends on what a registry shows are keyed by the principal too.
"""

from typing import NewType

Principal = NewType("Principal", str)
"""An open type: other kinds (`vault:…`) may follow. Records without one were written before there were principals."""

PUBLIC = Principal("public")
"""Anybody: only what anybody may read."""

OPERATOR = Principal("operator")
"""The operator's credentials, for whatever they open."""
