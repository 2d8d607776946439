"""Credentials for registries."""

from gateway.openapi.schemas.common import INSTANT

_CREDENTIALS = {
    "userName": "User name, at most 65,536 characters.",
    "password": "Password, at most 65,536 characters.",
    "registry": "`host[:port]` of the registry, or a URL; at most 2,048 characters.",
}

SCHEMAS = {
    "CredentialsRequest": "Credentials for a registry.",
    "LegacyCredentialsRequest": "Credentials for a registry, as they are or in the member `request`.",
    "StoreRequest": "A user name and a password for a registry.",
    "StoredCredential": "A stored credential, without its password.",
    "StoredCredentials": "Stored credentials, by owner and registry.",
}

PROPERTIES = {
    "CredentialsRequest": _CREDENTIALS,
    "LegacyCredentialsRequest": {**_CREDENTIALS, "request": "The credentials, in place of the other members."},
    "StoreRequest": {
        "userName": "User name; at most 500 characters. For Amazon's registries, the id of an access key.",
        "buildSecret": "Let builds of the owner read the password: `buildSecrets` names it as `vault:<registry>`.",
        "password": "Password or token; at most 16,384 characters. It is encrypted, and not shown again.",
    },
    "StoredCredential": {
        "registry": "Registry, or path below one, whose images the credential opens.",
        "userName": "User name.",
        "buildSecret": "Whether builds of the owner may read the password.",
        "user": "User whose requests use it; missing for a credential of an organisation.",
        "organisation": "Organisation whose users' requests use it; missing for a credential of a user.",
        "stored": f"When it was stored, {INSTANT}.",
        "storedBy": "User or operator who has stored it.",
    },
    "StoredCredentials": {"credentials": "The credentials."},
}
