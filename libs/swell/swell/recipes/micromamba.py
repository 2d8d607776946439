"""Recipes that install Conda environments with micromamba.

The image of version 1 is based on micromamba's image; version 2 copies the environment into another base image.
Source: mamba's documentation, "Micromamba User Guide", https://mamba.readthedocs.io/en/latest/user_guide/micromamba.html
"""

from swell.recipes.conda import CondaImage, Environment
from swell.recipes.lines import CONTEXT, join_lines
from swell.recipes.shell import MERGE_STREAMS, chain, definition, print_lock, quote_words

_INSTALL = "micromamba install -y -n base"
_EXPORT = "micromamba env export --name base --explicit > environment.lock"
_CLEAN = "micromamba clean -a -y"
_LOG = "/tmp/mamba.log"  # noqa: S108  (in the image)


def dockerfile_v1(parameters: CondaImage) -> str:
    return join_lines(
        f"FROM {parameters.tool_image}",
        _copy_file(parameters.environment),
        f"RUN {_steps_v1(parameters, '/tmp')}",  # noqa: S108
        "USER root",
        'ENV PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"',
        *parameters.commands,
    )


def definition_file_v1(parameters: CondaImage) -> str:
    return definition(
        parameters.tool_image,
        files=_files(parameters.environment),
        post=_steps_v1(parameters, "/scratch"),
        environment='export PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"',
        commands=parameters.commands,
    )


def dockerfile_v2(parameters: CondaImage) -> str:
    return join_lines(
        f"FROM {parameters.tool_image} AS build",
        "USER root",
        _copy_file(parameters.environment),
        f"RUN {_steps_v2(parameters, '/tmp')}",  # noqa: S108
        "",
        f"FROM {parameters.base_image} AS prod",
        "ARG MAMBA_ROOT_PREFIX=/opt/conda",
        "ENV MAMBA_ROOT_PREFIX=$MAMBA_ROOT_PREFIX",
        "COPY --from=build $MAMBA_ROOT_PREFIX $MAMBA_ROOT_PREFIX",
        "USER root",
        'ENV PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"',
        *parameters.commands,
    )


def definition_file_v2(parameters: CondaImage) -> str:
    """One stage without `base_image`: an unprivileged builder cannot keep owners and modes between stages."""
    return definition(
        parameters.tool_image,
        files=_files(parameters.environment),
        post=_steps_v2(parameters, "/scratch"),
        environment='export MAMBA_ROOT_PREFIX=/opt/conda\nexport PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"',
        commands=parameters.commands,
    )


def _steps_v1(parameters: CondaImage, folder: str) -> str:
    return chain(
        MERGE_STREAMS,
        f"{_INSTALL} {_source(parameters.environment, folder)}",
        _base_packages(parameters),
        _EXPORT,
        print_lock("environment.lock"),
        _CLEAN,
    )


def _steps_v2(parameters: CondaImage, folder: str) -> str:
    return chain(
        MERGE_STREAMS,
        f"{_INSTALL} conda-forge::which",
        'ln -sf "$MAMBA_ROOT_PREFIX/bin/which" /usr/bin/which',
        _install_with_cuda(f"{_INSTALL} {_source(parameters.environment, folder)}"),
        _base_packages(parameters),
        _CLEAN,
        _EXPORT,
        print_lock("environment.lock"),
    )


def _install_with_cuda(install: str) -> str:
    """Run *install*; if it fails because of a missing CUDA device, run it again with a simulated one."""
    again = f"grep -q __cuda {_LOG} && CONDA_OVERRIDE_CUDA=99 {install}"
    return f"if {install} > {_LOG} 2>&1; then cat {_LOG}; \\\n    else cat {_LOG} >&2; {again}; fi"


def _base_packages(parameters: CondaImage) -> str | None:
    return f"{_INSTALL} {quote_words(*parameters.base_packages)}" if parameters.base_packages else None


def _source(environment: Environment, folder: str) -> str:
    if environment.url:
        return quote_words(
            *(part for channel in environment.channels for part in ("-c", channel)), "-f", environment.url
        )
    return f"-f {folder}/{_name(environment)}"


def _name(environment: Environment) -> str:
    """The name of the file; micromamba derives the format from its extension."""
    return "conda.txt" if environment.is_explicit else "conda.yml"


def _copy_file(environment: Environment) -> str | None:
    if environment.url:
        return None
    return f"COPY --chown=$MAMBA_USER:$MAMBA_USER conda.yml /tmp/{_name(environment)}"


def _files(environment: Environment) -> tuple[str, ...]:
    return () if environment.url else (f"{CONTEXT}/conda.yml /scratch/{_name(environment)}",)
