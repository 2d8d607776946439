"""What the engine wants to know of a container file before buildah reads it; the usual spellings are enough."""

import re

_BY_LINE = re.IGNORECASE | re.MULTILINE
_FROM = re.compile(r"^[ \t]*FROM[ \t]+(?:--platform=\S+[ \t]+)?(\S+)(?:[ \t]+AS[ \t]+(\S+))?[ \t]*$", _BY_LINE)


_COMMAND = re.compile(r"[ \t]*(?:RUN|COPY|ADD)[ \t]", re.IGNORECASE)
_HEREDOC = re.compile(r"""<<-?["']?(\w+)""")


def has_heredoc(containerfile: str) -> bool:
    """Whether an instruction has a here-document (`<<EOF` and the lines down to `EOF`)."""
    below = set[str]()
    for line in reversed(containerfile.splitlines()):
        if _COMMAND.match(line) and not below.isdisjoint(_HEREDOC.findall(line)):
            return True
        below.add(line.strip())
    return False


def base_images(containerfile: str) -> list[str]:
    """The images that its FROM lines name, each once; neither stages, nor `scratch`, nor names with variables."""
    stages, images = {"scratch"}, dict[str, None]()
    for image, stage in _FROM.findall(containerfile):
        if image.lower() not in stages and "$" not in image:
            images[image] = None
        stages.add(stage.lower())
    return list(images)


def final_base_image(containerfile: str) -> str | None:
    """The image that the last stage begins with, directly or through other stages; None for `scratch`."""
    stages, image = dict[str, str | None](), None
    for name, stage in _FROM.findall(containerfile):
        image = stages[name.lower()] if name.lower() in stages else None if name.lower() == "scratch" else name
        stages[stage.lower()] = image
    return image
