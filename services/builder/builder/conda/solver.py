"""The rattler solver, with lists of packages that the builder has fetched; it makes no requests itself."""

from datetime import timedelta

from rattler import (
    BuildString,
    Channel,
    GenericVirtualPackage,
    MatchSpec,
    PackageName,
    RepoDataRecord,
    SparseRepoData,
    Version,
    solve_with_sparse_repodata,
)
from rattler.exceptions import InvalidMatchSpecError, SolverError

from builder.conda.model.channels import SolveRequest, machine
from builder.conda.model.lock import LockedPackage, locked
from builder.conda.repodata import Repodata
from swell.errors import BadRequest

_ANY_CUDA = "99"  # as for micromamba in the other templates: builders have no GPU, but the image may run on one
_MAX_TEXT = 1800  # characters of an explanation


class RattlerSolver:
    def __init__(self, repodata: Repodata, glibc: str, timeout: timedelta) -> None:
        """*glibc* is the version that images are assumed to have; *timeout* limits the search."""
        self._repodata = repodata
        self._glibc = glibc
        self._timeout = timeout

    async def solve(self, request: SolveRequest, subdir: str) -> list[LockedPackage]:
        """Return packages that satisfy *request* on *subdir*, with conda's strict channel priority.

        Raises:
            BadRequest: there are none, with the solver's explanation; or a spec is none.
            UpstreamFailed, AddressForbidden: a channel cannot be read.
        """
        specs = [_spec(text) for text in request.specs]
        data = await self._repodata.for_channels(request.channels, subdir)
        try:
            records = await self._search(specs, data, subdir, None)
        except SolverError as error:
            if "__cuda" not in str(error):
                raise _unsolvable(error) from error
            try:
                records = await self._search(specs, data, subdir, _ANY_CUDA)
            except SolverError as again:
                raise _unsolvable(again) from again
        return [_locked(record) for record in records]

    async def _search(
        self, specs: list[MatchSpec], data: list[SparseRepoData], subdir: str, cuda: str | None
    ) -> list[RepoDataRecord]:
        known = machine(subdir, self._glibc, cuda)
        return await solve_with_sparse_repodata(
            specs,
            data,
            virtual_packages=[
                GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
                for name, (version, build) in known.items()
            ],
            timeout=self._timeout,
        )


def _spec(text: str) -> MatchSpec:
    try:
        return MatchSpec(text)
    except InvalidMatchSpecError as error:
        raise BadRequest(f"packages has {text[:200]!r}, which is not a package: {error}") from error


def _locked(record: RepoDataRecord) -> LockedPackage:
    if not record.sha256:
        raise BadRequest(f"{record.url} has no sha256 in its channel, so it cannot be verified")
    return locked(record.url, record.sha256.hex())


def _unsolvable(error: SolverError) -> BadRequest:
    explanation = str(error).strip().removeprefix("Cannot solve the request because of: ")
    return BadRequest(
        f"the packages cannot be installed together: {explanation[:_MAX_TEXT]}{'…' * (len(explanation) > _MAX_TEXT)}"
    )


def usual_channels() -> str:
    """Return the base URL of named channels, which rattler and other clients use by default."""
    name = "any"
    return (Channel(name).base_url or "").rstrip("/").removesuffix(f"/{name}")
