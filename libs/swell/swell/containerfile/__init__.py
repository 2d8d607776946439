"""The Dockerfile parser.

`parse` splits a file into instructions. It does not check what instructions say; the engine does. Questions about the
whole file are properties and methods of the result.

Engines differ in what they read. Debian's buildah 1.28 does not support here-documents, so it executes their lines as
instructions. It continues a line that ends in two escape characters, and expands fewer variables in `FROM`. BuildKit
and buildah can see different base images in one file. Code that decides about access therefore checks every reading
(`readings`); code that runs an engine uses the dialect of that engine.

Sources: Dockerfile reference, https://docs.docker.com/reference/dockerfile/; the parsers of BuildKit,
https://github.com/moby/buildkit/tree/master/frontend/dockerfile/parser, and imagebuilder,
https://github.com/openshift/imagebuilder; tests with buildah 1.28.2 (docs/decisions/0001-containerfile-parser.md).
"""

from swell.containerfile.dialects import BUILDAH_1_28, BUILDKIT, DIALECTS, Dialect
from swell.containerfile.instructions import Heredoc, Instruction
from swell.containerfile.limits import MAX_INSTRUCTIONS, MAX_SIZE, MAX_STAGES
from swell.containerfile.mounts import Mount
from swell.containerfile.parser import base_images, parse, readings
from swell.containerfile.stages import SCRATCH, Containerfile, Stage, find_target

__all__ = [
    "BUILDAH_1_28",
    "BUILDKIT",
    "DIALECTS",
    "MAX_INSTRUCTIONS",
    "MAX_SIZE",
    "MAX_STAGES",
    "SCRATCH",
    "Containerfile",
    "Dialect",
    "Heredoc",
    "Instruction",
    "Mount",
    "Stage",
    "base_images",
    "find_target",
    "parse",
    "readings",
]
