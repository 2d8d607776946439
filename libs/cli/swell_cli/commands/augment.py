"""`swell augment`."""

from typing import TYPE_CHECKING, Any

import click

from swell_cli.progress import Reporter
from swell_cli.requesting import DRY_RUN, PLATFORM, additions, packed_layers, publishing, run_request, taken, waiting
from swell_cli.session import Session, common
from swell_client.requests import container_request, image_source

if TYPE_CHECKING:
    from swell.api.containers import ContainerRequest

EPILOG = """\b
Examples:
  swell augment ubuntu:24.04 --env GREETING=hello --cmd 'sh -c "echo $GREETING"'
  swell augment docker.io/library/python:3.13 --layer ./files
  swell augment ubuntu:24.04 --include busybox --freeze --repository registry.example.org/team
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@additions
@publishing
@PLATFORM
@DRY_RUN
@waiting
@common
def augment(session: Session, image: str, **options: Any) -> None:
    """Add layers, variables, an entrypoint or other images to IMAGE, while it is pulled.

    Nothing is built, unless --freeze stores the result in your registry.
    """
    wait, request = taken(options)

    def make(reporter: Reporter) -> "ContainerRequest":
        packed_layers(request, reporter)
        return container_request(image_source(image), request)

    run_request(session, wait, make)
