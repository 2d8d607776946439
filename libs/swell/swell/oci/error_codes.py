"""Error responses for clients of registries.

Source: OCI distribution-spec, "Error Codes",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
"""

import msgspec

from swell.errors import AddressForbidden, Denied, NameUnknown, NotFound, PolicyDenied, SwellError

CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DENIED",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "TOOMANYREQUESTS",
        "UNAUTHORIZED",
        "UNSUPPORTED",
    }
)
_OTHER_WORDS = {NotFound.code: NameUnknown.code, AddressForbidden.code: Denied.code, PolicyDenied.code: Denied.code}


def error_body(code: str, message: str) -> bytes:
    """Return the body of an error response; codes that are not in the specification become UNKNOWN."""
    known = _OTHER_WORDS.get(code, code if code in CODES else SwellError.code)
    return msgspec.json.encode({"errors": [{"code": known, "message": message}]})
