"""The last output of a step, for the message about its failure."""

LAST_OUTPUT = 4 << 10
"""Bytes that are available when the step fails."""


class LastOutput:
    """The end of what one step writes, for messages about its failure."""

    def __init__(self) -> None:
        self._ends = {1: b"", 2: b""}

    def add(self, stream: int, data: bytes) -> None:
        end = self._ends[2 if stream == 2 else 1] + data
        self._ends[2 if stream == 2 else 1] = end if len(end) <= 2 * LAST_OUTPUT else end[-LAST_OUTPUT:]

    def __str__(self) -> str:
        """Whole lines of standard error; of standard output if the step has written nothing to the former."""
        end = self._ends[2] if self._ends[2].strip() else self._ends[1]
        if len(end) >= LAST_OUTPUT:  # its first line may be cut
            end = end.partition(b"\n")[2] or end
        return end.decode(errors="replace")
