"""Descriptions of the schemas and of their properties, with units and limits; by the names in JSON."""

from collections.abc import Mapping
from typing import Final

from gateway.openapi.schemas import (
    accounts,
    builds,
    containers,
    credentials,
    images,
    keys,
    mirrors,
    operator,
    packages,
    preferences,
    scans,
    service,
    webhooks,
)

_TOPICS = (
    containers,
    packages,
    builds,
    mirrors,
    scans,
    images,
    credentials,
    keys,
    accounts,
    operator,
    service,
    webhooks,
    preferences,
)

SCHEMAS: Final[Mapping[str, str]] = {name: text for topic in _TOPICS for name, text in topic.SCHEMAS.items()}
PROPERTIES: Final[Mapping[str, Mapping[str, str]]] = {
    name: texts for topic in _TOPICS for name, texts in topic.PROPERTIES.items()
}
