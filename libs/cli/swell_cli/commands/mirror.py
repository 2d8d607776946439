"""`swell mirror`."""

from typing import Any

import click

from swell_cli.requesting import DRY_RUN, run_request, taken, waiting
from swell_cli.session import Session, common
from swell_client.requests import container_request, image_source

EPILOG = """\b
Example:
  swell mirror quay.io/acme/tool:2.1 registry.example.org/mirror
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@click.argument("repository")
@DRY_RUN
@waiting
@common
def mirror(session: Session, image: str, repository: str, **options: Any) -> None:
    """Copy IMAGE, unchanged, to REPOSITORY (a registry, or a path in it). Needs an API key that may push."""
    wait, request = taken(options)
    request |= {"mirror": True, "build_repository": repository}
    run_request(session, wait, lambda _: container_request(image_source(image), request))
