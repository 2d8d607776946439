"""The proxy environment of steps."""

from builder.settings import EngineSettings


def proxies_of_steps(settings: EngineSettings) -> dict[str, str]:
    """Return the proxy variables of *settings* for steps; empty unless the operator allows proxies for steps."""
    if not settings.proxy_for_steps:
        return {}
    proxies = {"http_proxy": settings.http_proxy, "https_proxy": settings.https_proxy}
    named = {name: value for name, value in proxies.items() if value}
    return {**named, "no_proxy": ",".join(settings.no_proxy)} if named and settings.no_proxy else named
