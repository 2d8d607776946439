"""What the programs of these tests are told by the environment: nothing that was meant for another Swell."""

import os

NO_LIMITS = {f"SWELL_{kind}_LIMIT": "off" for kind in ("BUILD", "PULL", "ANONYMOUS_BUILD", "ANONYMOUS_PULL")}


def of_this_machine() -> dict[str, str]:
    """The environment without our variables; system programs are found wherever Debian has them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SWELL_")}
    return kept | {"PATH": f"{kept.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"}
