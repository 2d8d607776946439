"""The result of a check."""

from enum import StrEnum

from msgspec import Struct


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True, omit_defaults=True):
    """What a check has found, and what to do about it; `next` is empty if all is well."""

    check: str
    state: State
    text: str
    next: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, State.OK, text)


def warning(check: str, text: str, next: str) -> Finding:  # noqa: A002 - the word of the API
    return Finding(check, State.WARNING, text, next)


def failed(check: str, text: str, next: str) -> Finding:  # noqa: A002
    return Finding(check, State.FAILED, text, next)


def skipped(check: str, text: str, next: str = "") -> Finding:  # noqa: A002
    return Finding(check, State.SKIPPED, text, next)
