"""`swell completion`."""

import sys

import click

EPILOG = """\b
Examples:
  swell completion bash > ~/.local/share/bash-completion/completions/swell
  swell completion zsh > ~/.zfunc/_swell
  swell completion fish > ~/.config/fish/completions/swell.fish
"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    from swell_cli.__main__ import swell  # noqa: PLC0415 - the group of this command

    if kind := get_completion_class(shell):
        sys.stdout.write(kind(swell, {}, "swell", "_SWELL_COMPLETE").source() + "\n")
