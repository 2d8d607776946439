"""The lines with which a user pulls or runs an image, for each program."""

from msgspec import Struct

from swell.naming.image_name import ORAS


class Line(Struct, frozen=True):
    """A line for `program`; `note` says where it belongs."""

    program: str
    text: str
    note: str = ""


def pull_lines(image: str) -> tuple[Line, ...]:
    """The lines for *image*; a name that begins with `oras://` is a SIF file."""
    if image.startswith(ORAS):
        return (
            Line("Apptainer", f"apptainer pull {image}"),
            Line("Nextflow", f"process.container = '{image}'", "in nextflow.config, with Apptainer or Singularity"),
        )
    return (
        Line("Docker", f"docker pull {image}"),
        Line("Podman", f"podman pull {image}"),
        Line("Apptainer", f"apptainer pull docker://{image}"),
        Line("Nextflow", f"process.container = '{image}'", "in nextflow.config"),
        Line("Dockerfile", f"FROM {image}"),
        Line("Kubernetes", f"image: {image}", "in the container of a pod"),
    )
