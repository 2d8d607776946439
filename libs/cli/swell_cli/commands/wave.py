"""`swell wave`: all words behind it are those of Wave's command line."""

import sys

import click

_RAW = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],
    "allow_interspersed_args": False,
}


@click.command(context_settings=_RAW, add_help_option=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def wave(words: tuple[str, ...]) -> None:
    """Run the command line of Wave's client: the same options, requests, output and exit codes."""
    from swell_cli.wave.main import main  # noqa: PLC0415 - takes time to import

    sys.exit(main(words))
