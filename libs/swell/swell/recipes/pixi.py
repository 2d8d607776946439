"""Recipes that install Conda environments with pixi.

The image activates the environment when a container starts. Its PATH has the programs without the entrypoint too, which
`singularity exec` does not run.
Source: pixi's documentation, "pixi shell-hook", https://pixi.sh/latest/reference/cli/pixi/shell-hook/
"""

from swell.recipes.conda import CondaImage
from swell.recipes.lines import CONTEXT, join_lines
from swell.recipes.shell import MERGE_STREAMS, chain, definition, print_lock, quote_words

_HOME = "/opt/wave"
_ENVIRONMENT = f"{_HOME}/.pixi/envs/default"
_HOOK = "/shell-hook.sh"


def dockerfile(parameters: CondaImage) -> str:
    return join_lines(
        f"FROM {parameters.tool_image} AS build",
        "USER root",
        f"COPY conda.yml {_HOME}/conda.yml",
        f"WORKDIR {_HOME}",
        f"RUN {chain(_steps(parameters, _HOME), _exec_arguments(), print_lock(f'{_HOME}/pixi.lock'))}",
        "",
        f"FROM {parameters.base_image} AS final",
        f"COPY --from=build {_ENVIRONMENT} {_ENVIRONMENT}",
        f"COPY --from=build {_HOOK} {_HOOK}",
        "USER root",
        "ENV USER=root",
        f'ENV PATH="{_ENVIRONMENT}/bin:$PATH"',
        f'ENTRYPOINT ["/bin/bash", "{_HOOK}"]',
        'CMD ["/bin/bash"]',
        *parameters.commands,
    )


def definition_file(parameters: CondaImage) -> str:
    enter = chain(f"mkdir -p {_HOME}", f"cd {_HOME}")
    return definition(
        parameters.tool_image,
        files=[f"{CONTEXT}/conda.yml /scratch/conda.yml"],
        post=chain(enter, _steps(parameters, "/scratch"), print_lock(f"{_HOME}/pixi.lock")),
        environment=f". {_HOOK}",
        commands=parameters.commands,
    )


def _steps(parameters: CondaImage, folder: str) -> str:
    return chain(
        MERGE_STREAMS,
        f"pixi init --import {folder}/conda.yml",
        "pixi add conda-forge::which",
        f"pixi add {quote_words(*parameters.base_packages)}" if parameters.base_packages else None,
        f"pixi shell-hook > {_HOOK}",
    )


def _exec_arguments() -> str:
    return f"""echo 'exec "$@"' >> {_HOOK}"""
