"""The object store of a stack, for tests that look into it."""

from collections.abc import Mapping

from swell.store.connections.settings import S3Settings

LAYERS, LOGS = "swell-layers", "swell-logs"


def s3_of(environment: Mapping[str, str]) -> S3Settings:
    return S3Settings(
        endpoint=environment["SWELL_S3_ENDPOINT"],
        access_key=environment["SWELL_S3_ACCESS_KEY"],
        secret_key=environment["SWELL_S3_SECRET_KEY"],
    )
