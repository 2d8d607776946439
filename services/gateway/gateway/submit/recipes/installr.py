"""R packages: from CRAN and its like, Bioconductor, GitHub or an address, each by the R package that can install it.

Every R process sets its repositories before it installs. Package names are its arguments, never part of its program.
"""

import json
import re
from collections.abc import Iterable

from msgspec import Struct

from gateway.domain.definition import lines
from gateway.submit.recipes.shell import chain, definition, quoted, words
from swell.errors import BadRequest

CRAN = "https://cloud.r-project.org/"
BIOCONDUCTOR = "https://bioconductor.org"

_LIBRARY = "R_LIBS_USER=/usr/local/lib/R/site-library"
_CLEAN = "rm -rf /tmp/downloaded_packages /tmp/*.rds /var/lib/apt/lists/*"
_LONGEST_PROGRAM = 8000  # R leaves out what is beyond 10,000 bytes of program in its command line

_NAME = r"[A-Za-z][A-Za-z0-9.]*"
_KINDS = {
    "version": re.compile(rf"{_NAME}==?[0-9]+(?:[.-][0-9]+)*"),
    "name": re.compile(_NAME),
    "bioc": re.compile(rf"bioc::{_NAME}"),
    "github": re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)+(?:[@#][\w./-]+)?", re.ASCII),
    "url": re.compile(r"https?://[!#-\[\]-~]+"),  # without quotes and backslashes, of which R's shell makes others
}

_NEED = 'if (!requireNamespace("{0}", quietly = TRUE)) install.packages("{0}")'
_REMOTES, _BIOC_MANAGER = _NEED.format("remotes"), _NEED.format("BiocManager")
_CHECK = (
    "absent <- setdiff(commandArgs(TRUE), rownames(installed.packages())); "
    'if (length(absent)) stop("not installed: ", toString(absent))'
)
_VERSIONS = (
    'for (spec in strsplit(commandArgs(TRUE), "=+")) remotes::install_version(spec[1], spec[2], upgrade = "never")'
)
_PROGRAMS = {
    "version": (_REMOTES, _VERSIONS),
    "name": ("install.packages(commandArgs(TRUE))", _CHECK),  # which only warns of what it cannot install
    "bioc": (_BIOC_MANAGER, "BiocManager::install(commandArgs(TRUE), ask = FALSE, update = FALSE)", _CHECK),
    "github": (_REMOTES, 'remotes::install_github(commandArgs(TRUE), upgrade = "never")'),
    "url": (_REMOTES, 'remotes::install_url(commandArgs(TRUE), upgrade = "never")'),
}


class RImage(Struct, frozen=True, kw_only=True):
    """What the template for R packages is filled with; `base_packages` are Debian's."""

    image: str
    entries: tuple[str, ...]
    channels: tuple[str, ...] = ()
    base_packages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def docker(wanted: RImage) -> str:
    return lines(
        f"FROM {wanted.image}",
        "USER root",
        f"RUN {_steps(wanted)}",
        f"ENV {_LIBRARY}",
        *wanted.commands,
    )


def singularity(wanted: RImage) -> str:
    return definition(wanted.image, post=_steps(wanted), environment=f"export {_LIBRARY}", commands=wanted.commands)


def _steps(wanted: RImage) -> str:
    debian = ("apt-get update", f"apt-get install -y {words(*wanted.base_packages)}") if wanted.base_packages else ()
    return chain(*debian, *_installs(wanted), _CLEAN)


def _installs(wanted: RImage) -> list[str]:
    """One R process for each kind of package; versions first, since what is there already is not installed again."""
    options = _options(wanted.channels)
    kinds: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for entry in wanted.entries:
        kinds[_kind(entry)].append(entry.removeprefix("bioc::"))
    if "bioconductor" in map(str.lower, wanted.channels):
        # Its installer knows CRAN's packages too, and only it knows its own.
        kinds["bioc"] += kinds.pop("name")
    return [_rscript((options, *_PROGRAMS[kind]), entries) for kind, entries in kinds.items() if entries]


def _kind(entry: str) -> str:
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(entry):
            return kind
    raise BadRequest(
        f"packages.entries has {entry[:80]!r}; an R package is written as NAME, NAME=VERSION, bioc::NAME, "
        "USER/REPOSITORY or the address of an archive"
    )


def _options(channels: Iterable[str]) -> str:
    """R code for the repositories that *channels* name, in their order; CRAN when there is none."""
    repositories = [CRAN if name.lower() == "cran" else name for name in channels if name.lower() != "bioconductor"]
    for address in repositories:
        if not _KINDS["url"].fullmatch(address):
            raise BadRequest(
                f"packages.channels has {address[:80]!r}; expected cran, bioconductor or an http(s) address"
            )
    named = zip(
        ["CRAN", *(f"R{number}" for number in range(1, len(repositories)))], repositories or [CRAN], strict=False
    )
    listed = ", ".join(f"{name} = {_literal(address)}" for name, address in named)
    options = f"options(repos = c({listed}), BioC_mirror = {_literal(BIOCONDUCTOR)})"
    if len(options) > _LONGEST_PROGRAM:
        raise BadRequest("packages.channels names too many repositories for R")
    return options


def _literal(text: str) -> str:
    """*text*, printable ASCII, as a string of R, which escapes as JSON does."""
    return json.dumps(text)


def _rscript(program: Iterable[str], entries: Iterable[str]) -> str:
    return " ".join(["Rscript", *(f"-e {quoted(line)}" for line in program), words(*entries)])
