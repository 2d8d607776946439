"""Conda environments by pixi, copied into another image, where they are activated at the start."""

from gateway.domain.definition import CONTEXT, lines
from gateway.submit.recipes.conda import CondaImage
from gateway.submit.recipes.shell import ONE_STREAM, chain, definition, shown_lock, words

_HOME = "/opt/wave"
_HOOK = "/shell-hook.sh"


def docker(wanted: CondaImage) -> str:
    return lines(
        f"FROM {wanted.tool_image} AS build",
        "USER root",
        f"COPY conda.yml {_HOME}/conda.yml",
        f"WORKDIR {_HOME}",
        f"RUN {chain(_steps(wanted, _HOME), _run_whatever_is_given(), shown_lock(f'{_HOME}/pixi.lock'))}",
        "",
        f"FROM {wanted.base_image} AS final",
        f"COPY --from=build {_HOME}/.pixi/envs/default {_HOME}/.pixi/envs/default",
        f"COPY --from=build {_HOOK} {_HOOK}",
        "USER root",
        "ENV USER=root",
        f'ENTRYPOINT ["/bin/bash", "{_HOOK}"]',
        'CMD ["/bin/bash"]',
        *wanted.commands,
    )


def singularity(wanted: CondaImage) -> str:
    enter = chain(f"mkdir -p {_HOME}", f"cd {_HOME}")
    return definition(
        wanted.tool_image,
        files=[f"{CONTEXT}/conda.yml /scratch/conda.yml"],
        post=chain(enter, _steps(wanted, "/scratch"), shown_lock(f"{_HOME}/pixi.lock")),
        environment=f". {_HOOK}",
        commands=wanted.commands,
    )


def _steps(wanted: CondaImage, folder: str) -> str:
    return chain(
        ONE_STREAM,
        f"pixi init --import {folder}/conda.yml",
        "pixi add conda-forge::which",
        f"pixi add {words(*wanted.base_packages)}" if wanted.base_packages else None,
        f"pixi shell-hook > {_HOOK}",
    )


def _run_whatever_is_given() -> str:
    return f"""echo 'exec "$@"' >> {_HOOK}"""
