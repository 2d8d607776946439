"""Requirements of pip in a Conda environment: the lines that conda and micromamba write into pip's requirements file.

Source: pip's documentation, "Requirements File Format",
https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

import re

from swell.errors import BadRequest

_FILE_OPTIONS = {
    "-r": "another requirements file",
    "--requirement": "another requirements file",
    "-c": "a constraints file",
    "--constraint": "a constraints file",
    "-e": "a folder",
    "--editable": "a folder",
}
_OPTION = re.compile(r"(-[A-Za-z]|--[A-Za-z-]+)[ =]*(.*)")
_REMOTE = re.compile(r"(?:(?:git|hg|svn|bzr)\+)?(?:https?|ssh)://")
_LOCAL = re.compile(r"\.{0,2}/|~|file:|\.{1,2}\Z|[^;@=<>~!]*\.(?:whl|tar\.gz|zip)\Z")
_NAMED = re.compile(r"[\w.-]+ ?(?:\[[^\]]*\])? ?@ ?(.*)")


def check_requirement(text: str) -> str:
    """Return *text*, a requirement or an option of pip, if a build can read what it names.

    Raises:
        BadRequest: it is a file or folder of the client's machine, or it has a line break.
    """
    if not text.isprintable():
        raise BadRequest(f"the pip requirement {text[:80]!r} has a line break or a control character")
    if (option := _OPTION.match(text)) and option[1] in _FILE_OPTIONS and not _REMOTE.match(option[2]):
        what = _FILE_OPTIONS[option[1]]
        raise BadRequest(
            f"the pip option {text[:80]!r} names {what} of your machine, which a build cannot read; list its packages"
        )
    named = _NAMED.match(text)
    location = named[1] if named else text
    if not _REMOTE.match(location) and _LOCAL.match(location):
        raise BadRequest(f"the pip requirement {text[:80]!r} is a file of your machine, which a build cannot read")
    return text
