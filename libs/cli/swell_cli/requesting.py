"""The options of container requests, and what follows a request: wait with progress, cancel, print the image."""

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import click
import msgspec

from swell.api.builds import Cancellation, ContainerStatus
from swell_cli.exits import Exit
from swell_cli.interrupting import repeated_interrupts
from swell_cli.output import Format, Result
from swell_cli.progress import Mode, Reporter, reporting
from swell_cli.session import Session, fail
from swell_client import BuildFailed, SwellClientError
from swell_client.packing import pack_layer

if TYPE_CHECKING:
    from swell.api.containers import ContainerAnswer, ContainerRequest
    from swell_client import Client, Container
    from swell_client.requests import Options

F = TypeVar("F", bound=Callable[..., Any])

PLATFORM = click.option(
    "--platform", metavar="OS/ARCH", help="Platform, or several with commas: linux/amd64,linux/arm64."
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show the name and the container file; build nothing.")


class Pairs(click.ParamType[tuple[str, str]]):
    """`NAME=VALUE`."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, content = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, content


PAIR = Pairs()
FOLDER = click.Path(exists=True, file_okay=False)


def combined(*options: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator of several."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


additions = combined(
    click.option("--env", type=PAIR, multiple=True, help="Set a variable of the image."),
    click.option("--entrypoint", metavar="WORDS", help="Set the entrypoint, as words of a shell."),
    click.option("--cmd", metavar="WORDS", help="Set the command, as words of a shell."),
    click.option("--workdir", "working_dir", metavar="PATH", help="Set the working directory."),
    click.option("--layer", "layers", type=FOLDER, multiple=True, help="Add the content of a folder at the root."),
    click.option("--include", "includes", metavar="IMAGE", multiple=True, help="Add the layers of another image."),
)
packages_below = combined(
    click.option("--base-image", metavar="IMAGE", help="Image below the packages."),
    click.option("--base-packages", metavar="NAMES", help="Packages that are added to them; '' for none."),
)
publishing = combined(
    click.option("--freeze", is_flag=True, help="Build all of it into an image of your registry, without a token."),
    click.option("--repository", "build_repository", metavar="NAME", help="Repository to push to; needs an API key."),
    click.option("--sif", is_flag=True, help="Make a SIF file for Apptainer; with --freeze."),
    click.option("--scan", "scan_mode", type=click.Choice(["none", "async", "required"]), help="Scan the image."),
    click.option(
        "--scan-level",
        "scan_levels",
        type=click.Choice(["LOW", "MEDIUM", "HIGH", "CRITICAL"], case_sensitive=False),
        multiple=True,
        help="Severity that a required scan allows.",
    ),
)
waiting = combined(
    click.option("-d", "--detach", is_flag=True, help="Do not wait for the build: the image can be pulled at once."),
    click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait at most so long."),
    click.option(
        "--progress", type=click.Choice([each.value for each in Mode]), default="auto", help="Kind of progress."
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress; the result is only the name of the image."),
)


class Waiting(NamedTuple):
    """How to wait for the result of a request."""

    detach: bool
    timeout: float | None
    mode: Mode
    quiet: bool


def taken(options: dict[str, Any]) -> tuple[Waiting, "Options"]:
    """Split the values of click into those for waiting and those of the request."""
    wait = Waiting(options.pop("detach"), options.pop("timeout"), Mode(options.pop("progress")), options.pop("quiet"))
    request = {name: value for name, value in options.items() if value not in (None, (), "", False)}
    for pairs in ("env", "build_args", "labels", "build_secrets"):
        if pairs in request:
            request[pairs] = dict(request[pairs])
    for words in ("entrypoint", "cmd"):
        if words in request:
            request[words] = words_of(request[words], words)
    if request.pop("sif", False):
        request["format"] = "sif"
    if request.get("build_repository") and not request.get("mirror"):
        request.setdefault("freeze", True)
    return wait, request  # type: ignore[return-value]  # the names are those of Options


def words_of(text: str, option: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"--{option}: {error}") from error


def run_request(session: Session, wait: Waiting, make: "Callable[[Reporter], ContainerRequest]") -> None:
    """Send the request that *make* returns, wait for its image, and print it."""
    container = status = None
    try:
        with repeated_interrupts(), session.client() as client, reporting(wait.mode, quiet=wait.quiet) as reporter:
            container = client.submit(make(reporter), sent=reporter.sent)
            for warning in container.answer.warnings:
                reporter.note(f"warning: {warning}")
            if not wait.detach and not container.answer.container_file:
                _wait(container, wait, reporter)
            status = _status(client, container, wait)
    except KeyboardInterrupt:
        if container is None:
            raise
        interrupted(session, container.build_id, container.answer.request_id)
    session.show(_result(container.answer, status), default=_default_format(wait))


def _wait(container: "Container", wait: Waiting, reporter: Reporter) -> None:
    try:
        container.wait(progress=reporter.event, timeout=wait.timeout)
    except BuildFailed:
        reporter.failed()
        raise


def _status(client: "Client", container: "Container", wait: Waiting) -> ContainerStatus | None:
    """The final state, for the result of programs; None without a build or a scan."""
    answer = container.answer
    is_done = not wait.detach and not answer.container_file and (answer.build_id or answer.scan_id)
    return client.container_status(answer.request_id) if is_done else None


def interrupted(session: Session, build_id: str, request_id: str) -> NoReturn:
    """Ask whether to cancel; without a terminal, the build continues."""
    follow = f"The build continues. Follow it with: swell logs -f {build_id}" if build_id else "The build continues."
    if not build_id or not sys.stdin.isatty() or not sys.stderr.isatty():
        fail(f"interrupted\n{follow}", Exit.INTERRUPTED)
    try:
        wants = click.confirm("\nCancel the build?", default=False, err=True)
    except (click.Abort, KeyboardInterrupt):
        wants = False
    if not wants:
        fail(f"interrupted\n{follow}", Exit.INTERRUPTED)
    try:
        with session.client() as client:
            cancelled = client.cancel(build_id, request_id=request_id)
    except SwellClientError as error:
        fail(f"not cancelled: {error}", Exit.INTERRUPTED)
    fail("cancelled" if cancelled.cancelled else f"left the build; it {goes_on(cancelled)}", Exit.INTERRUPTED)


def goes_on(left: Cancellation) -> str:
    """For whom a build continues that was not cancelled."""
    return f"goes on for {left.others} other request{'s' * (left.others != 1)}"


def _default_format(wait: Waiting) -> Format:
    """People get the line to copy; scripts get the name."""
    return Format.TABLE if sys.stdout.isatty() and not wait.quiet else Format.NAME


def _result(answer: "ContainerAnswer", status: ContainerStatus | None) -> Result:
    fields = msgspec.to_builtins(answer)
    if status:
        more = {"succeeded": status.succeeded, "duration": status.duration, "vulnerabilities": status.vulnerabilities}
        fields |= {name: value for name, value in more.items() if value is not None}
    if answer.container_file:  # of a dry run
        cached = {True: "yes", False: "no", None: "unknown"}[answer.cached]
        rows = [
            ("image", answer.target_image),
            ("exists", cached),
            *(("", line) for line in answer.container_file.splitlines()),
        ]
        return Result(fields, rows, answer.target_image)
    return Result(fields, [(pull_line(answer.target_image),)], answer.target_image)


def pull_line(image: str) -> str:
    """The line to copy."""
    return f"apptainer pull {image}" if image.startswith("oras://") else f"docker pull {image}"


def packed_layers(options: "Options", reporter: Reporter) -> None:
    """Pack the folders among the layers of *options*."""
    from pathlib import Path  # noqa: PLC0415

    if folders := options.get("layers"):
        options["layers"] = [pack_layer(Path(str(folder)), progress=reporter.packed) for folder in folders]
