"""Packages to install."""

_COMMANDS = "Lines for the end of the container file; at most 1,000 lines and 50,000 characters."

_TEMPLATE = {
    "commands": _COMMANDS,
    "basePackages": "Packages that are installed in addition; none if null or empty.",
    "baseImage": "Base image of the result.",
}

SCHEMAS = {
    "Packages": "Packages to install: either `entries` or an `environment`.",
    "PackageType": "A package manager.",
    "CondaOpts": "Options of the templates that use micromamba.",
    "PixiOpts": "Options of the templates that use pixi.",
    "CranOpts": "Options of the template for R packages.",
    "NameStrategy": "Where the names of packages appear in the name of the image.",
}

PROPERTIES = {
    "Packages": {
        "type": "`CONDA` or `CRAN`.",
        "environment": "A conda environment or an explicit list (`@EXPLICIT`), base64; at most 50,000 characters.",
        "entries": "Names of packages, with versions; `pip:NAME` for pip; or one URL of a lock file. "
        "At most 1,000 names and 50,000 characters.",
        "channels": "Conda channels; for R `cran`, `bioconductor` or the URL of a repository.",
        "condaOpts": "Options for micromamba.",
        "pixiOpts": "Options for pixi.",
        "cranOpts": "Options for R packages.",
    },
    "CondaOpts": {"mambaImage": "Image with micromamba.", **_TEMPLATE},
    "PixiOpts": {"pixiImage": "Image with pixi.", **_TEMPLATE},
    "CranOpts": {
        "rImage": "Image with R; the base image of the result.",
        "commands": _COMMANDS,
        "basePackages": "Debian packages that are installed in addition; none if null or empty.",
    },
}
