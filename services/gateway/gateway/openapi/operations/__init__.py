"""The operations of the HTTP API, one row each; pulls under `/v2` are in the OCI distribution-spec.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from gateway.openapi.operations.accounts import ACCOUNTS
from gateway.openapi.operations.builds import BUILDS
from gateway.openapi.operations.containers import CONTAINERS
from gateway.openapi.operations.credentials import VAULT
from gateway.openapi.operations.keys import KEYS
from gateway.openapi.operations.mirrors import MIRRORS
from gateway.openapi.operations.operation import Operation
from gateway.openapi.operations.operator import OPERATOR
from gateway.openapi.operations.preferences import PREFERENCES
from gateway.openapi.operations.registries import REGISTRIES
from gateway.openapi.operations.scans import SCANS
from gateway.openapi.operations.service import METRICS, SERVICE
from gateway.openapi.operations.webhooks import WEBHOOKS

OPERATIONS = (
    *CONTAINERS,
    *BUILDS,
    *MIRRORS,
    *SCANS,
    *REGISTRIES,
    *VAULT,
    *WEBHOOKS,
    *PREFERENCES,
    *KEYS,
    *ACCOUNTS,
    *OPERATOR,
    *METRICS,
    *SERVICE,
)

__all__ = ["OPERATIONS", "Operation"]
