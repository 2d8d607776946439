"""Failures: errors as plain values, told to another service and raised there as what they were."""

from typing import Self

from msgspec import Struct

from swell.errors import SwellError, every_class
from swell.log import log

_CLASSES = {cls.__name__: cls for cls in every_class()}


class Failure(Struct, frozen=True, omit_defaults=True):
    """`kind` names a class of `swell.errors`, `message` is fit for the client's eyes, `retry_after` is in seconds."""

    kind: str
    message: str
    retry_after: int | None = None

    @classmethod
    def of(cls, error: Exception) -> Self:
        """*error* if we foresaw it; else UNKNOWN, and the whole story goes to the log."""
        if not isinstance(error, SwellError):
            log.error("unforeseen error", exc_info=error)
            error = SwellError()
        return cls(type(error).__name__, str(error), error.retry_after)

    @property
    def error(self) -> SwellError:
        """The error again, to be raised; of the tree's root when nothing here has its name."""
        return _CLASSES.get(self.kind, SwellError)(self.message, retry_after=self.retry_after)
