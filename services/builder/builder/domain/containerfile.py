"""What the engine must know of a container file before buildah reads it.

Both functions read the usual spellings only. What they miss costs speed or a failed step, never safety.
"""

import re

_BY_LINE = re.IGNORECASE | re.MULTILINE
_FROM = re.compile(r"^[ \t]*FROM[ \t]+(?:--platform=\S+[ \t]+)?(\S+)(?:[ \t]+AS[ \t]+(\S+))?[ \t]*$", _BY_LINE)
_RUN_FLAGS = re.compile(r"^[ \t]*RUN(?:(?:[ \t]|\\\r?\n)+--\S+)+", _BY_LINE)
_CACHE_MOUNT = re.compile(r"--mount=(?=\S*\btype=cache\b)(\S+)")
_NUMBER = re.compile(r"\d{1,9}")


def base_images(containerfile: str) -> list[str]:
    """The images that its FROM lines name, each once; neither stages, nor `scratch`, nor names with variables."""
    stages, images = {"scratch"}, dict[str, None]()
    for image, stage in _FROM.findall(containerfile):
        if image.lower() not in stages and "$" not in image:
            images[image] = None
        stages.add(stage.lower())
    return list(images)


def with_cache_owners(containerfile: str, first_user_id: int) -> str:
    """Give the cache mounts of RUN to the step's users, who have other ids outside than inside.

    Buildah 1.28 makes those directories for ids of the machine: a step with ids of its own could not write there.
    """

    def owned(mount: re.Match[str]) -> str:
        return f"--mount={_with_owner(mount[1], first_user_id)}"

    return _RUN_FLAGS.sub(lambda run: _CACHE_MOUNT.sub(owned, run[0]), containerfile)


def _with_owner(mount: str, first_user_id: int) -> str:
    options = dict.fromkeys(("uid", "gid"), "0") | dict(_split_option(option) for option in mount.split(","))
    for key in ("uid", "gid"):
        if _NUMBER.fullmatch(options[key]):
            options[key] = str(first_user_id + int(options[key]))
    return ",".join(f"{key}={value}" if value else key for key, value in options.items())


def _split_option(option: str) -> tuple[str, str]:
    key, _, value = option.partition("=")
    return key, value
