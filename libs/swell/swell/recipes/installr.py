"""Recipes that install R packages from CRAN-like repositories, Bioconductor, GitHub or a URL.

Every R process sets its repositories first. Package names are arguments of the process, never part of its program.
Source: the R packages remotes, https://remotes.r-lib.org, and BiocManager, https://bioconductor.github.io/BiocManager/
"""

import json
import re
from collections.abc import Iterable

from msgspec import Struct

from swell.errors import BadRequest
from swell.recipes.lines import join_lines
from swell.recipes.shell import chain, definition, quote, quote_words

CRAN = "https://cloud.r-project.org/"
BIOCONDUCTOR = "https://bioconductor.org"

_LIBRARY = "R_LIBS_USER=/usr/local/lib/R/site-library"
_CLEAN = "rm -rf /tmp/downloaded_packages /tmp/*.rds /var/lib/apt/lists/*"
_LONGEST_PROGRAM = 8000  # characters; R truncates the programs in its command line at 10,000 bytes

_NAME = r"[A-Za-z][A-Za-z0-9.]*"
_KINDS = {
    "version": re.compile(rf"{_NAME}==?[0-9]+(?:[.-][0-9]+)*"),
    "name": re.compile(_NAME),
    "bioc": re.compile(rf"bioc::{_NAME}"),
    "github": re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)+(?:[@#][\w./-]+)?", re.ASCII),
    "url": re.compile(r"https?://[!#-\[\]-~]+"),  # without quotes and backslashes, which R's shell would change
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
    "name": (
        "install.packages(commandArgs(TRUE))",
        _CHECK,
    ),  # install.packages only warns if it cannot install a package
    "bioc": (_BIOC_MANAGER, "BiocManager::install(commandArgs(TRUE), ask = FALSE, update = FALSE)", _CHECK),
    "github": (_REMOTES, 'remotes::install_github(commandArgs(TRUE), upgrade = "never")'),
    "url": (_REMOTES, 'remotes::install_url(commandArgs(TRUE), upgrade = "never")'),
}


class RImage(Struct, frozen=True, kw_only=True):
    """The parameters of the template for R packages; `base_packages` are Debian packages."""

    image: str
    entries: tuple[str, ...]
    channels: tuple[str, ...] = ()
    base_packages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def dockerfile(parameters: RImage) -> str:
    return join_lines(
        f"FROM {parameters.image}",
        "USER root",
        f"RUN {_steps(parameters)}",
        f"ENV {_LIBRARY}",
        *parameters.commands,
    )


def definition_file(parameters: RImage) -> str:
    return definition(
        parameters.image, post=_steps(parameters), environment=f"export {_LIBRARY}", commands=parameters.commands
    )


def _steps(parameters: RImage) -> str:
    debian = (
        ("apt-get update", f"apt-get install -y {quote_words(*parameters.base_packages)}")
        if parameters.base_packages
        else ()
    )
    return chain(*debian, *_installs(parameters), _CLEAN)


def _installs(parameters: RImage) -> list[str]:
    """One R process for each kind of package; exact versions first, because R does not install a package twice."""
    options = _options(parameters.channels)
    kinds: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for entry in parameters.entries:
        kinds[_kind(entry)].append(entry.removeprefix("bioc::"))
    if "bioconductor" in map(str.lower, parameters.channels):
        # BiocManager installs the packages of CRAN too; install.packages does not know those of Bioconductor.
        kinds["bioc"] += kinds.pop("name")
    return [_rscript((options, *_PROGRAMS[kind]), entries) for kind, entries in kinds.items() if entries]


def _kind(entry: str) -> str:
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(entry):
            return kind
    raise BadRequest(
        f"packages.entries has {entry[:80]!r}; an R package is written as NAME, NAME=VERSION, bioc::NAME, "
        "USER/REPOSITORY or the URL of an archive"
    )


def _options(channels: Iterable[str]) -> str:
    """R code that sets the repositories in *channels*, in their order; CRAN if there are none."""
    repositories = [CRAN if name.lower() == "cran" else name for name in channels if name.lower() != "bioconductor"]
    for url in repositories:
        if not _KINDS["url"].fullmatch(url):
            raise BadRequest(f"packages.channels has {url[:80]!r}; expected cran, bioconductor or an http(s) URL")
    named = zip(
        ["CRAN", *(f"R{number}" for number in range(1, len(repositories)))], repositories or [CRAN], strict=False
    )
    listed = ", ".join(f"{name} = {_literal(url)}" for name, url in named)
    options = f"options(repos = c({listed}), BioC_mirror = {_literal(BIOCONDUCTOR)})"
    if len(options) > _LONGEST_PROGRAM:
        raise BadRequest("packages.channels names too many repositories for R")
    return options


def _literal(text: str) -> str:
    """*text*, printable ASCII, as a string literal of R, whose escapes equal JSON's."""
    return json.dumps(text)


def _rscript(program: Iterable[str], entries: Iterable[str]) -> str:
    return " ".join(["Rscript", *(f"-e {quote(line)}" for line in program), quote_words(*entries)])
