"""Why a scan fails."""

from swell.store.scans import ScanProblem


class ScanFailure(Exception):
    """A scan has no findings. The message is for its clients; `exit_code` is that of a program, if one failed."""

    def __init__(self, problem: ScanProblem, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.exit_code = exit_code
