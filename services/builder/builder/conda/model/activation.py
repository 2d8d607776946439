"""Activation: the environment variables of an activated conda environment, set in the image's config instead.

Source: conda, "conda activate", https://docs.conda.io/projects/conda/en/stable/dev-guide/deep-dives/activation.html:
`etc/conda/env_vars.d/*.json` and `etc/conda/activate.d/*.sh`.
"""

from collections.abc import Mapping, Sequence

import msgspec

from builder.conda.model.package import Malformed
from builder.conda.model.prefix import PREFIX

VARIABLES, SCRIPTS = "etc/conda/env_vars.d/", "etc/conda/activate.d/"
HOOK = "etc/conda/activate.bash"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_HOOK = """\
# Runs what the packages want to be run at their activation: once for each chain of shells, whatever their options.
if [ -z "${SWELL_CONDA_ACTIVATED-}" ]; then
    export SWELL_CONDA_ACTIVATED=1
    _swell_options=$-
    set +eu
    for _swell_script in /{prefix}/{scripts}*.sh; do
        [ -r "$_swell_script" ] && . "$_swell_script"
    done
    case $_swell_options in *e*) set -e ;; esac
    case $_swell_options in *u*) set -u ;; esac
    unset _swell_script _swell_options
fi
"""


def hook(prefix: str = PREFIX) -> bytes:
    """Return the file that bash reads before a script, if packages have activation scripts."""
    return _HOOK.replace("{prefix}", prefix).replace("{scripts}", SCRIPTS).encode()


def read_variables(content: bytes) -> dict[str, str]:
    """Parse the variables of a file in `env_vars.d`.

    Raises:
        Malformed: it is no JSON object of texts.
    """
    try:
        found = msgspec.json.decode(content, type=dict[str, str])
    except (msgspec.MsgspecError, ValueError) as error:
        raise Malformed("a file of etc/conda/env_vars.d is no JSON object of texts") from error
    if any("=" in name or "\0" in name + value or not name for name, value in found.items()):
        raise Malformed("a file of etc/conda/env_vars.d has a variable that none can be")
    return found


def environment(base: Sequence[str], packages: Mapping[str, str], *, scripts: bool) -> list[str]:
    """Return the image's variables: those of *base*, overridden by conda's, overridden by those of *packages*.

    With *scripts*, bash runs them when it is not interactive, unless the base has another use for `BASH_ENV`.
    """
    known = {name: value for name, _, value in (entry.partition("=") for entry in base)}
    known["PATH"] = f"/{PREFIX}/bin:{known.get('PATH') or _PATH}"
    known |= {"CONDA_PREFIX": f"/{PREFIX}", "CONDA_DEFAULT_ENV": "base", "MAMBA_ROOT_PREFIX": f"/{PREFIX}"}
    if scripts:
        known.setdefault("BASH_ENV", f"/{PREFIX}/{HOOK}")
    return [f"{name}={value}" for name, value in {**known, **packages}.items()]
