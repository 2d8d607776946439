"""`swell build`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swell_cli.progress import Reporter
from swell_cli.requesting import (
    DRY_RUN,
    PAIR,
    PLATFORM,
    additions,
    packages_below,
    packed_layers,
    publishing,
    run_request,
    taken,
    waiting,
)
from swell_cli.session import Session, common
from swell_client.packing import pack_context
from swell_client.requests import Source, conda_source, container_request, cran_source, file_source

if TYPE_CHECKING:
    from swell.api.containers import ContainerRequest

_LARGEST_FILE = 1 << 20

EPILOG = """\b
Examples:
  swell build .                                    the Dockerfile of this folder
  swell build -f images/Dockerfile --target test . another file and stage
  swell build - < Dockerfile                       without a context
  swell build -p samtools=1.17 -p bwa              Conda packages
  swell build -e environment.yml --platform linux/amd64,linux/arm64
  swell build -p bwa --freeze --repository registry.example.org/tools
  docker run --rm -it $(swell build -q .)
"""


@click.command(epilog=EPILOG)
@click.argument("context", required=False)
@click.option(
    "-f", "--file", metavar="FILE", help="Container file; '-' reads it from stdin. Default: CONTEXT/Dockerfile."
)
@click.option(
    "-p", "--package", "packages", metavar="NAME", multiple=True, help="Conda package, such as samtools=1.17."
)
@click.option("-e", "--environment", metavar="FILE", help="Conda environment file; '-' reads it from stdin.")
@click.option("-c", "--channel", "channels", metavar="NAME", multiple=True, help="Conda channel, in their order.")
@click.option("--cran", metavar="NAME", multiple=True, help="R package.")
@packages_below
@click.option("--template", metavar="NAME", help="How packages are installed, such as conda/direct:v1.")
@click.option("--build-arg", "build_args", type=PAIR, multiple=True, help="Value of an ARG instruction.")
@click.option("--target", metavar="STAGE", help="Stage to build.")
@click.option("--label", "labels", type=PAIR, multiple=True, help="Label of the image.")
@click.option("--secret", "build_secrets", type=PAIR, multiple=True, help="ID=NAME: a secret of the operator.")
@click.option("--compression", type=click.Choice(["gzip", "zstd", "estargz"]), help="Compression of the layers.")
@click.option("--cache-repository", metavar="NAME", help="Repository for build steps; with --repository.")
@click.option("--name-strategy", type=click.Choice(["none", "tagPrefix", "imageSuffix"]), help="Where tools are named.")
@click.option("--rebuild", is_flag=True, help="Build even if the image exists.")
@additions
@publishing
@PLATFORM
@DRY_RUN
@waiting
@common
def build(session: Session, context: str | None, file: str | None, **options: Any) -> None:
    """Build an image of a container file and its CONTEXT (a folder), or of packages.

    The context is packed as Docker does, with its .dockerignore. The name of the image is printed on stdout: it can be
    pulled until the token in it expires. '-' as the CONTEXT reads the container file from stdin.
    """
    names = ("packages", "environment", "channels", "cran")
    packages, environment, channels, cran = (options.pop(name) for name in names)
    below = {name: options.pop(name) for name in ("base_image", "base_packages")}
    wait, request = taken(options)
    given = [bool(context or file), bool(packages), bool(environment), bool(cran)]
    if sum(given) != 1:
        raise click.UsageError("Give exactly one of: a context or container file, --package, --environment, --cran.")

    def make(reporter: Reporter) -> "ContainerRequest":
        packed_layers(request, reporter)
        if packages or environment:
            source = conda_source(packages, read(environment) if environment else None, channels or None, **below)
        elif cran:
            source = cran_source(cran, **below)
        else:
            source = _file(context, file, reporter)
        return container_request(source, request)

    _check_file(context, file)
    run_request(session, wait, make)


def _check_file(context: str | None, file: str | None) -> None:
    if context and context != "-" and not Path(context).is_dir():
        raise click.UsageError(f"{context} is not a folder. The context is a folder; the container file is --file.")
    if context == "-" and file:
        raise click.UsageError("With '-' as the context, the container file is read from stdin: leave out --file.")


def _file(context: str | None, file: str | None, reporter: Reporter) -> Source:
    if context == "-" or file == "-":
        text = read("-")
        folder = Path(context) if context and context != "-" else None
        packed = pack_context(folder, progress=reporter.packed) if folder else None
        return file_source(text, packed)
    path = Path(file) if file else Path(context or ".") / "Dockerfile"
    packed = pack_context(Path(context), path, progress=reporter.packed) if context else None
    return file_source(read(str(path)), packed)


def read(name: str) -> str:
    """The text of a file, or of stdin for `-`; at most 1 MiB."""
    try:
        if name == "-":
            text = sys.stdin.read(_LARGEST_FILE + 1)
        else:
            with Path(name).open(encoding="utf-8") as opened:
                text = opened.read(_LARGEST_FILE + 1)
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{name} is not a text in UTF-8") from error
    if len(text) > _LARGEST_FILE:
        raise click.UsageError(f"{name} has more than 1 MiB: it is not a container file or an environment")
    return text
