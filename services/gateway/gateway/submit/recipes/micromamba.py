"""Conda environments by micromamba. Version 1 stays in micromamba's image; 2 copies the environment into another."""

from gateway.domain.definition import CONTEXT, lines
from gateway.submit.recipes.conda import CondaImage, Environment
from gateway.submit.recipes.shell import ONE_STREAM, chain, definition, shown_lock, words

_INSTALL = "micromamba install -y -n base"
_EXPORT = "micromamba env export --name base --explicit > environment.lock"
_CLEAN = "micromamba clean -a -y"
_LOG = "/tmp/mamba.log"  # noqa: S108  (in the image)


def docker_v1(wanted: CondaImage) -> str:
    return lines(
        f"FROM {wanted.tool_image}",
        _copied(wanted.environment),
        f"RUN {_steps_v1(wanted, '/tmp')}",  # noqa: S108
        "USER root",
        'ENV PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"',
        *wanted.commands,
    )


def singularity_v1(wanted: CondaImage) -> str:
    return definition(
        wanted.tool_image,
        files=_files(wanted.environment),
        post=_steps_v1(wanted, "/scratch"),
        environment='export PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"',
        commands=wanted.commands,
    )


def docker_v2(wanted: CondaImage) -> str:
    return lines(
        f"FROM {wanted.tool_image} AS build",
        "USER root",
        _copied(wanted.environment),
        f"RUN {_steps_v2(wanted, '/tmp')}",  # noqa: S108
        "",
        f"FROM {wanted.base_image} AS prod",
        "ARG MAMBA_ROOT_PREFIX=/opt/conda",
        "ENV MAMBA_ROOT_PREFIX=$MAMBA_ROOT_PREFIX",
        "COPY --from=build $MAMBA_ROOT_PREFIX $MAMBA_ROOT_PREFIX",
        "USER root",
        'ENV PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"',
        *wanted.commands,
    )


def singularity_v2(wanted: CondaImage) -> str:
    """One stage, so without `base_image`: an unprivileged builder cannot keep owners and modes from one to the next."""
    return definition(
        wanted.tool_image,
        files=_files(wanted.environment),
        post=_steps_v2(wanted, "/scratch"),
        environment='export MAMBA_ROOT_PREFIX=/opt/conda\nexport PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"',
        commands=wanted.commands,
    )


def _steps_v1(wanted: CondaImage, folder: str) -> str:
    return chain(
        ONE_STREAM,
        f"{_INSTALL} {_source(wanted.environment, folder)}",
        _base_packages(wanted),
        _EXPORT,
        shown_lock("environment.lock"),
        _CLEAN,
    )


def _steps_v2(wanted: CondaImage, folder: str) -> str:
    return chain(
        ONE_STREAM,
        f"{_INSTALL} conda-forge::which",
        'ln -sf "$MAMBA_ROOT_PREFIX/bin/which" /usr/bin/which',
        _install_even_for_cuda(f"{_INSTALL} {_source(wanted.environment, folder)}"),
        _base_packages(wanted),
        _CLEAN,
        _EXPORT,
        shown_lock("environment.lock"),
    )


def _install_even_for_cuda(install: str) -> str:
    """*install*, and once more if it failed for want of a graphics card, which no builder has: then as if with one."""
    again = f"grep -q __cuda {_LOG} && CONDA_OVERRIDE_CUDA=99 {install}"
    return f"if {install} > {_LOG} 2>&1; then cat {_LOG}; \\\n    else cat {_LOG} >&2; {again}; fi"


def _base_packages(wanted: CondaImage) -> str | None:
    return f"{_INSTALL} {words(*wanted.base_packages)}" if wanted.base_packages else None


def _source(environment: Environment, folder: str) -> str:
    if environment.url:
        return words(*(part for channel in environment.channels for part in ("-c", channel)), "-f", environment.url)
    return f"-f {folder}/{_name(environment)}"


def _name(environment: Environment) -> str:
    """The file's name where it is installed from, by which micromamba knows what is in it."""
    return "conda.txt" if environment.is_explicit else "conda.yml"


def _copied(environment: Environment) -> str | None:
    if environment.url:
        return None
    return f"COPY --chown=$MAMBA_USER:$MAMBA_USER conda.yml /tmp/{_name(environment)}"


def _files(environment: Environment) -> tuple[str, ...]:
    return () if environment.url else (f"{CONTEXT}/conda.yml /scratch/{_name(environment)}",)
