"""Settings of the scanner; each field is read from SWELL_<FIELD>."""

from msgspec import Struct


class Settings(Struct, frozen=True, kw_only=True):
    listen: str = "127.0.0.1:9103"
    log_level: str = "INFO"
