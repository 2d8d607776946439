"""`swell scan`."""

import sys

import click

from swell.api.scans import ScanRecord
from swell_cli.exits import Exit
from swell_cli.output import Format, Result
from swell_cli.progress import Mode, reporting
from swell_cli.requesting import PLATFORM
from swell_cli.session import Session, common
from swell_client import BuildFailed, SwellClientError
from swell_client.requests import Options, container_request, image_source

FILES = ("spdx", "cyclonedx", "report", "vex")
LEVELS = ("LOW", "MEDIUM", "HIGH", "CRITICAL")

EPILOG = """\b
Examples:
  swell scan ubuntu:24.04
  swell scan ubuntu:24.04 --allow LOW --allow MEDIUM     exit code 1 if there is worse
  swell scan sc-c44968632f89dd6c_1 --file spdx > sbom.json
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@click.option(
    "--allow", "levels", type=click.Choice(LEVELS, case_sensitive=False), multiple=True, help="Allowed severity."
)
@click.option("--file", "name", type=click.Choice(FILES), help="Print a file of the scan in the place of its findings.")
@PLATFORM
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait at most so long.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@common
def scan(
    session: Session,
    image: str,
    levels: tuple[str, ...],
    name: str | None,
    platform: str | None,
    timeout: float | None,
    quiet: bool,
) -> None:
    """Scan IMAGE for known vulnerabilities, or show the scan IMAGE (`sc-…`).

    Without --allow, findings are shown and the exit code is 0. With it, the exit code is 1 if a finding has another
    severity.
    """
    allowed = tuple(level.upper() for level in levels) or LEVELS
    is_rejected, scan_id = False, image
    with session.client() as client:
        if not image.startswith("sc-"):
            options: Options = {"scan_mode": "required", "scan_levels": allowed}
            if platform:
                options["platform"] = platform
            with reporting(Mode.AUTO, quiet=quiet) as reporter:
                container = client.submit(container_request(image_source(image), options))
                scan_id = container.answer.scan_id or ""
                try:
                    container.wait(progress=reporter.event, timeout=timeout)
                except BuildFailed:
                    is_rejected = True
        if not scan_id:
            raise SwellClientError(f"{image} is not scanned by this server")
        if name:
            sys.stdout.buffer.write(client.scan_file(scan_id, name, platform or ""))
        else:
            record = client.scan(scan_id)
            session.show(_result(record), default=Format.TABLE)
            is_rejected = is_rejected or record.status == "FAILED"
    if is_rejected:
        sys.exit(Exit.FAILED)


def _result(record: ScanRecord) -> Result:
    rows = [
        (each.severity, each.id, each.pkg_name, each.installed_version, each.fixed_version)
        for each in record.vulnerabilities or ()
    ]
    return Result(record, [("SEVERITY", "ID", "PACKAGE", "INSTALLED", "FIXED"), *rows], record.id)
