"""A group of commands whose modules are imported when a command runs, so that help and completion stay fast."""

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import click


class Lazy(NamedTuple):
    """Where a command is (`module:attribute` in this package), and its line in the list of commands."""

    home: str
    summary: str


class LazyGroup(click.Group):
    """A group of *commands*; listing them imports none."""

    def __init__(self, *arguments: object, lazy: Mapping[str, Lazy] | None = None, **more: object) -> None:
        super().__init__(*arguments, **more)  # type: ignore[arg-type]  # as click passes them
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of their definition, which is that of their use."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].home.partition(":")
        command: click.Command = getattr(import_module(f"swell_cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        rows = [(name, lazy.summary) for name, lazy in self._lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[click.shell_completion.CompletionItem]":
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - for completion only

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        found = [name for name in self._lazy if name.startswith(incomplete)]
        return [CompletionItem(name, help=self._lazy[name].summary) for name in found]
