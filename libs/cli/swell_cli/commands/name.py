"""`swell name`."""

from pathlib import Path
from typing import Any, cast

import click

from swell.api.containers import BuildOptions, ContainerRequest
from swell.errors import SwellError
from swell.naming.build_id import BuildInputs
from swell.naming.image_name import effective_strategy, target_name, tools_of
from swell.naming.platforms import parse_platforms
from swell.recipes.packages import make_recipe
from swell_cli.commands.build import read
from swell_cli.exits import Exit
from swell_cli.output import Format, Result
from swell_cli.requesting import PAIR, PLATFORM, packages_below
from swell_cli.session import Session, common, fail
from swell_client.packing import PackedLayer, pack_context
from swell_client.requests import Options, conda_source, container_request, cran_source, file_source

EPILOG = """\b
Examples:
  swell name --repository registry.example.org/swell/builds .
  swell name --repository registry.example.org/swell/builds -p samtools=1.17 -o json
"""


@click.command(epilog=EPILOG)
@click.argument("context", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--repository", metavar="NAME", required=True, help="Repository that the server, or you, build into.")
@click.option(
    "-f", "--file", metavar="FILE", help="Container file; '-' reads it from stdin. Default: CONTEXT/Dockerfile."
)
@click.option("-p", "--package", "packages", metavar="NAME", multiple=True, help="Conda package.")
@click.option("-e", "--environment", metavar="FILE", help="Conda environment file; '-' reads it from stdin.")
@click.option("-c", "--channel", "channels", metavar="NAME", multiple=True, help="Conda channel, in their order.")
@click.option("--cran", metavar="NAME", multiple=True, help="R package.")
@packages_below
@click.option("--template", metavar="NAME", help="How packages are installed.")
@click.option("--build-arg", "build_args", type=PAIR, multiple=True, help="Value of an ARG instruction.")
@click.option("--target", metavar="STAGE", help="Stage to build.")
@click.option("--label", "labels", type=PAIR, multiple=True, help="Label of the image.")
@click.option("--secret", "build_secrets", type=PAIR, multiple=True, help="ID=NAME: a secret of the operator.")
@click.option("--compression", type=click.Choice(["gzip", "zstd", "estargz"]), help="Compression of the layers.")
@click.option("--name-strategy", type=click.Choice(["none", "tagPrefix", "imageSuffix"]), help="Where tools are named.")
@click.option("--sif", is_flag=True, help="The name of a SIF file.")
@PLATFORM
@common
def name(session: Session, context: str | None, file: str | None, sif: bool, repository: str, **options: Any) -> None:
    """Compute the name and the id of an image without a server, with the server's own code.

    The same inputs have the same name, so a pipeline can find out whether an image exists already. --repository is in
    the `containerImage` of a dry run, before the tag. Additions with --freeze are not supported: their name depends on
    the base image. Packages with a Conda template need py-rattler: pip install 'swell-cli[conda]'.
    """
    names = ("packages", "environment", "channels", "cran")
    packages, environment, channels, cran = (options.pop(each) for each in names)
    below = {each: options.pop(each) for each in ("base_image", "base_packages")}
    if sum(map(bool, (context or file, packages, environment, cran))) != 1:
        raise click.UsageError("Give exactly one of: a context or container file, --package, --environment, --cran.")
    packed: PackedLayer | None = None
    if cran:
        source = cran_source(cran, **below)
    elif packages or environment:
        source = conda_source(packages, read(environment) if environment else None, channels or None, **below)
    else:
        path = Path(file) if file and file != "-" else Path(context or ".") / "Dockerfile"
        packed = pack_context(Path(context), path) if context else None
        source = file_source(read(file or str(path)), packed)
    request = container_request(source, _request_options(options | {"format": "sif" if sif else None}))
    try:
        container_id, image = _named(request, repository)
    except SwellError as error:
        fail(str(error), Exit.USAGE)
    except ModuleNotFoundError as error:
        fail(f"{error.name} is missing: pip install 'swell-cli[conda]'", Exit.USAGE)
    fields = {
        "containerId": container_id,
        "containerImage": image,
        "contextDigest": packed.tar_digest if packed else None,
    }
    present = {key: value for key, value in fields.items() if value}
    session.show(Result(present, name=image), default=Format.NAME)


def _request_options(options: dict[str, Any]) -> Options:
    pairs = ("build_args", "labels", "build_secrets")
    given = {key: value for key, value in options.items() if value}
    return cast(Options, given | {key: dict(given[key]) for key in pairs if key in given})


def _named(request: ContainerRequest, repository: str) -> tuple[str, str]:
    """The container id and the name of the image of *request*.

    Raises:
        SwellError: a package, a platform or a template is not valid.
    """
    from swell.recipes.members import decode_text  # noqa: PLC0415

    is_sif = request.format == "sif"
    if request.packages:
        recipe = make_recipe(request.packages, request.build_template, is_sif)
        text, environment, is_direct = recipe.containerfile, recipe.environment, recipe.direct is not None
    else:
        text, environment, is_direct = decode_text("containerFile", request.container_file or ""), None, False
    options = BuildOptions(
        build_args=request.build_args or {},
        target=request.target or "",
        labels=request.labels or {},
        build_secrets=request.build_secrets or {},
    )
    inputs = BuildInputs(
        containerfile=text,
        conda_file=environment,
        platform=",".join(map(str, parse_platforms(request))),
        repository=repository,
        context=request.build_context,
        options=options,
        compression=None if is_direct else request.build_compression,
    )
    strategy = effective_strategy(request.name_strategy, repository, None)
    tools = tools_of(environment) if environment else ()
    image = target_name(repository, inputs.container_id, strategy=strategy, sif=is_sif, tools=tools)
    return inputs.container_id, image
