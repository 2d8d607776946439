"""`swell doctor`."""

import sys
from collections.abc import Iterator

import click

from swell_cli.doctor.engines import check_engines
from swell_cli.doctor.finding import Finding, State, skipped
from swell_cli.doctor.round_trip import check_round_trip
from swell_cli.doctor.server import check_server
from swell_cli.exits import Exit
from swell_cli.output import Format, Result, printable
from swell_cli.session import Session, colors, common

_MARKS = {
    State.OK: ("✓", "green"),
    State.WARNING: ("!", "yellow"),
    State.FAILED: ("✗", "red"),
    State.SKIPPED: ("-", ""),
}

EPILOG = """\b
Examples:
  swell doctor
  swell doctor --no-build -o json
"""


@click.command(epilog=EPILOG)
@click.option(
    "--no-build", is_flag=True, help="Leave out the round trip, which builds and pulls an image of a few bytes."
)
@click.option("--timeout", default=120.0, type=click.FloatRange(min=1), metavar="SECONDS", help="Of the round trip.")
@common
def doctor(session: Session, no_build: bool, timeout: float) -> None:
    """Check the server, the key, the container engines of this machine, and a build with its pull.

    Each line that is not well says what to do. The exit code is 1 if a check has failed.
    """
    findings = list[Finding]()
    for finding in _findings(session, no_build, timeout):
        findings.append(finding)
        if (session.format or Format.TABLE) is Format.TABLE:
            _print(finding)
    if session.format and session.format is not Format.TABLE:
        worst = next((each.check for each in findings if each.state is State.FAILED), "ok")
        session.show(Result(findings, name=worst))
    if any(finding.state is State.FAILED for finding in findings):
        sys.exit(Exit.FAILED)


def _findings(session: Session, no_build: bool, timeout: float) -> Iterator[Finding]:
    server = session.server
    with session.client(attempts=2) as client:
        reachable = False
        for finding in check_server(client, server):
            reachable = reachable or (finding.check == "server" and finding.state is State.OK)
            yield finding
        yield from check_engines(server.url.value)
        if no_build or not reachable:
            yield skipped("build", "left out" if no_build else "the server cannot be reached")
        else:
            yield from check_round_trip(client, timeout)


def _print(finding: Finding) -> None:
    mark, color = _MARKS[finding.state]
    styled = click.style(mark, fg=color or None)
    click.echo(f"{styled} {finding.check:10} {printable(finding.text)}", color=colors(sys.stdout))
    if finding.next:
        click.echo(f"  {'':10} → {printable(finding.next)}")
