"""Failures: errors as plain values, which another service raises again as the same class."""

from typing import Self

from msgspec import Struct

from swell.errors import SwellError, every_class
from swell.log import log

_CLASSES = {cls.__name__: cls for cls in every_class()}


class Failure(Struct, frozen=True, omit_defaults=True):
    """`kind` is the name of a class in `swell.errors`, `message` is safe for clients, `retry_after` is in seconds."""

    kind: str
    message: str
    retry_after: int | None = None

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Convert *error*; an unexpected one becomes `SwellError`, and its details are only logged."""
        if not isinstance(error, SwellError):
            log.error("unexpected error", exc_info=error)
            error = SwellError()
        return cls(type(error).__name__, str(error), error.retry_after)

    @property
    def error(self) -> SwellError:
        """The error to raise; `SwellError` when this version does not have the class."""
        return _CLASSES.get(self.kind, SwellError)(self.message, retry_after=self.retry_after)
