"""The `swell` command."""

import sys

import click

from swell_cli.lazy import Lazy, LazyGroup

COMMANDS = {
    "build": Lazy("commands.build:build", "Build an image of a container file or of packages."),
    "augment": Lazy("commands.augment:augment", "Add layers, variables or images to an image."),
    "mirror": Lazy("commands.mirror:mirror", "Copy an image into another registry."),
    "scan": Lazy("commands.scan:scan", "Scan an image, or show a scan."),
    "inspect": Lazy("commands.inspect:inspect", "Show the manifest and config of an image."),
    "status": Lazy("commands.status:status", "Show a request, build, mirror or scan."),
    "logs": Lazy("commands.logs:logs", "Print or follow the log of a build."),
    "cancel": Lazy("commands.cancel:cancel", "Cancel a build or mirror."),
    "lock": Lazy("commands.lock:lock", "Print the lock file of a build of packages."),
    "login": Lazy("commands.login:login", "Store a server and your API key as a profile."),
    "logout": Lazy("commands.login:logout", "Remove a stored API key."),
    "keys": Lazy("commands.keys:keys", "List, create and revoke API keys."),
    "accounts": Lazy("commands.accounts:accounts", "Manage accounts: names and passwords, for operators."),
    "credentials": Lazy("commands.credentials:credentials", "Store your credentials for registries at the server."),
    "config": Lazy("commands.config:config", "Show and change profiles."),
    "name": Lazy("commands.name:name", "Compute the name of an image without a server."),
    "doctor": Lazy("commands.doctor:doctor", "Check the server, the engines, and a build with its pull."),
    "wave": Lazy("commands.wave:wave", "Run with the options of Wave's command line."),
    "completion": Lazy("commands.completion:completion", "Print the completion script of a shell."),
}

EPILOG = """\b
Examples:
  swell build .
  swell build -p samtools=1.17 -p bwa
  docker run --rm $(swell build -q .)
  swell logs -f bd-c44968632f89dd6c_1

\b
Exit codes: 0 success, 1 the build or scan failed, 2 wrong usage, 3 refused by
the server, 4 the server is unavailable, 5 not ready in time, 130 interrupted.
"""


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.version_option(package_name="swell-cli", message="swell %(version)s")
def swell() -> None:
    """Build, augment, mirror, scan and inspect container images with a Swell server."""


def main() -> None:
    """Run the command line; a closed pipe ends it quietly."""
    try:
        swell.main(prog_name="swell", standalone_mode=True)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
