"""A build and a pull, as a container engine does it: manifest, redirect to the data port, bytes, digest."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from swell_cli.doctor.finding import Finding, failed, ok, warning
from swell_client import BuildFailed, Client, NotDone, RequestFailed, SwellClientError
from swell_client.packing import PackedLayer, pack

if TYPE_CHECKING:
    import httpx2

_MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_TIMEOUT = 20.0
_LARGEST = 4 << 20  # bytes of a layer


def check_round_trip(client: Client, timeout: float) -> Iterator[Finding]:
    """Build an image of nothing, which needs no registry, and pull it."""
    try:
        container = client.build("FROM scratch\nCOPY .swell-doctor /\n", context=_context())
        image = container.wait(timeout=timeout)
    except NotDone:
        yield failed("build", f"not ready after {timeout:.0f} s", "Builds wait: ask the operator whether builders run.")
        return
    except (BuildFailed, RequestFailed) as error:
        advice = error.details_uri if isinstance(error, BuildFailed) else error.details.next
        yield failed(
            "build", str(error), f"Read {advice}" if advice.startswith("http") else advice or "Ask the operator."
        )
        return
    except SwellClientError as error:
        yield failed("build", str(error), "Try again.")
        return
    yield ok("build", "an image was built" if not container.answer.cached else "the image of an earlier check exists")
    yield from _pull(client.url, image)


def _context() -> PackedLayer:
    import tempfile  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    from swell_client.packing.walk import tree  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ".swell-doctor")
        path.write_text("written by 'swell doctor'\n")
        path.chmod(0o644)
        return pack(tree(Path(folder)))


def _read(http: "httpx2.Client", url: str) -> bytes:
    """The content at *url*; of a longer one than 4 MiB, the beginning."""
    with http.stream("GET", url) as response:
        response.raise_for_status()
        content = b""
        for piece in response.iter_bytes(64 << 10):
            content += piece
            if len(content) > _LARGEST:
                break
        return content


def _pull(url: str, image: str) -> Iterator[Finding]:
    import httpx2  # noqa: PLC0415 - takes time to import

    authority, _, rest = image.partition("/")
    name, _, tag = rest.rpartition(":")
    expected = urlsplit(url).netloc
    if authority != expected:
        text = f"images are named {authority}/…, and the server is {expected}"
        yield warning("name", text, "The machines that pull must reach that name; the operator sets SWELL_SERVER_URL.")
    base = f"{urlsplit(url).scheme}://{authority}/v2/{name}"
    try:
        with httpx2.Client(timeout=_TIMEOUT) as http:
            manifest = http.get(f"{base}/manifests/{tag}", headers={"Accept": _MANIFESTS})
            manifest.raise_for_status()
            layer = manifest.json()["layers"][-1]
            yield ok("pull", "the manifest can be read with the token in the name")
            answer = http.get(f"{base}/blobs/{layer['digest']}")
            location = answer.headers.get("location", "")
            place = urlsplit(location).netloc or authority
            try:
                blob = _read(http, location) if answer.is_redirect else answer.raise_for_status().content
            except httpx2.HTTPError as error:
                advice = (
                    f"Open {place} for the machines that pull; the operator can relay blobs through the server instead."
                )
                yield failed("data", f"bytes are at {place}, which does not work from here: {error}", advice)
                return
    except (httpx2.HTTPError, ValueError, KeyError, IndexError) as error:
        yield failed("pull", f"{base} does not work from here: {error}", "Open the address for the machines that pull.")
        return
    if f"sha256:{hashlib.sha256(blob).hexdigest()}" != layer["digest"]:
        yield failed(
            "data", f"{place} sends other bytes than those of the digest", "A proxy on the way changes responses."
        )
        return
    yield ok("data", f"bytes come from {place}, with the right digest")
