"""The messages of `/v1alpha2/preferences`: what a user wants."""

from typing import Literal

from msgspec import Struct


class Preferences(Struct, frozen=True, kw_only=True):
    """`email`: when the user gets e-mail about own builds, mirrors and scans; None: as the server's setting says."""

    email: Literal["ALWAYS_ON", "ON_ERROR", "ALWAYS_OFF"] | None = None
