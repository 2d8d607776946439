"""Preferences."""

SCHEMAS = {"Preferences": "What a user wants."}

PROPERTIES = {
    "Preferences": {
        "email": "When the user gets e-mail about own builds, mirrors and scans: `ALWAYS_ON`, `ON_ERROR` or "
        "`ALWAYS_OFF`. Without it, the setting of the server counts.",
    },
}
