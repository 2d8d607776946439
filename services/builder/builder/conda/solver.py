"""The solver: rattler's, given what we fetched ourselves, so that it never asks anybody anything."""

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

from builder.conda.model.channels import Wish, machine
from builder.conda.model.lock import LockedPackage, locked
from builder.conda.repodata import Repodata
from swell.errors import BadRequest

_ANY_CUDA = "99"  # as micromamba is told in the other templates: no builder has a graphics card, and the image will run
_LONGEST = 1800  # characters of an explanation


class RattlerSolver:
    def __init__(self, repodata: Repodata, glibc: str, patience: timedelta) -> None:
        """Images are taken to have *glibc*; the search itself is given up after *patience*."""
        self._repodata = repodata
        self._glibc = glibc
        self._patience = patience

    async def solve(self, wish: Wish, subdir: str) -> list[LockedPackage]:
        """The packages that fulfil *wish* on *subdir*, a first channel before a second as conda's strict priority.

        Raises:
            BadRequest: there are none, with the solver's explanation; or a spec is none.
            UpstreamFailed, AddressForbidden: a channel cannot be read.
        """
        specs = [_spec(text) for text in wish.specs]
        data = await self._repodata.of(wish.channels, subdir)
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
            timeout=self._patience,
        )


def _spec(text: str) -> MatchSpec:
    try:
        return MatchSpec(text)
    except InvalidMatchSpecError as error:
        raise BadRequest(f"packages has {text[:200]!r}, which is no package: {error}") from error


def _locked(record: RepoDataRecord) -> LockedPackage:
    if not record.sha256:
        raise BadRequest(f"{record.url} has no sha256 in its channel, so that it could not be checked")
    return locked(record.url, record.sha256.hex())


def _unsolvable(error: SolverError) -> BadRequest:
    told = str(error).strip().removeprefix("Cannot solve the request because of: ")
    return BadRequest(f"the packages cannot be installed together: {told[:_LONGEST]}{'…' * (len(told) > _LONGEST)}")


def usual_channels() -> str:
    """Below which address rattler, and so everybody else, finds the channels that are named."""
    name = "any"
    return (Channel(name).base_url or "").rstrip("/").removesuffix(f"/{name}")
