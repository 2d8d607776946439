"""`python -m builder.once`: the command of the pods that the kubernetes engine creates.

The command keeps its name, because a builder and the image of its pods can have different versions during an upgrade.
"""

from builder.run_build import Settings, main
from swell.serve import run

if __name__ == "__main__":
    run("build", Settings, main)
