"""Environment files of conda: YAML with a list of dependencies. Errors have the line.

Empty values are like absent ones: `null`, `~`, an empty string, and an empty `-`.
Source: conda's documentation, "Creating an environment file manually",
https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from swell.conda.match_specs import parse_spec
from swell.conda.nesting import is_nested_too_deeply
from swell.errors import BadRequest
from swell.recipes.pip_requirements import check_requirement

FORMS = "send an environment file with a list of dependencies, or an explicit list (@EXPLICIT)"

_LOCK_FILES = {"package": "conda-lock", "packages": "pixi"}
_DROPPED = ("name", "channels", "dependencies")  # tools read `null` in these members as a text, or not at all

_TEXT, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"  # https://yaml.org/type/

# The errors of PyYAML for a value that does not match its tag.
_YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)


class _Loader(yaml.SafeLoader):
    """A loader without merge keys: each one could double the size of the document."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave the key `<<` unchanged; constructing it then fails."""


def read_environment(text: str) -> dict[str, Any]:
    """Return the members of the environment file *text*, without empty ones.

    Raises:
        BadRequest: it is not the YAML of an environment, or it has no packages; the message has the line.
    """
    node, fields = _load(text)
    if not isinstance(node, yaml.MappingNode) or not isinstance(fields, dict):
        raise BadRequest(f"line {_line(node) if node else 1}: it is not an environment file; {FORMS}")
    nodes = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    _check_dependencies(node, nodes)
    _check_channels(nodes.get("channels"))
    return _without_empty(fields)


def read_yaml(text: str) -> Mapping[str, Any]:
    """Return the members of *text*, which has any members, within bounded time.

    Raises:
        BadRequest: it is not a mapping in YAML.
    """
    _, fields = _load(text)
    if not isinstance(fields, dict):
        raise BadRequest("it must be a Conda environment in YAML, or an explicit list (@EXPLICIT)")
    return fields


def _load(text: str) -> tuple[yaml.Node | None, object]:
    if is_nested_too_deeply(text):
        raise BadRequest("it is nested too deeply")
    try:
        loader = _Loader(text)  # raises for characters that YAML does not allow
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadRequest(f"it is not YAML: {error.problem}{line}") from error
    except _YAML_ERRORS as error:
        raise BadRequest("it cannot be parsed as YAML") from error


def _check_dependencies(document: yaml.Node, nodes: Mapping[str, yaml.Node]) -> None:
    dependencies = nodes.get("dependencies")
    if dependencies is None:
        for member, tool in _LOCK_FILES.items():
            if member in nodes:
                raise BadRequest(
                    f"line {_line(nodes[member])}: it is a lock file of {tool}, which is not supported; {FORMS}"
                )
        raise BadRequest(f"line {_line(document)}: it has no list of dependencies; {FORMS}")
    if isinstance(dependencies, yaml.MappingNode):
        raise BadRequest(
            f"line {_line(dependencies)}: dependencies must be a list; write '- {_example(dependencies)}' in each line"
        )
    if not isinstance(dependencies, yaml.SequenceNode) and not _is_empty(dependencies):
        raise BadRequest(f"line {_line(dependencies)}: dependencies must be a list, with '- NAME=VERSION' in each line")
    items = dependencies.value if isinstance(dependencies, yaml.SequenceNode) else []
    present = [_check_dependency(item) for item in items]
    if not any(present):
        line = _line(items[0] if items else dependencies)
        raise BadRequest(f"line {line}: the list of dependencies is empty; {FORMS}")


def _check_channels(node: yaml.Node | None) -> None:
    if node is None or _is_empty(node):
        return
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for item in items:
        is_text = isinstance(item, yaml.ScalarNode) and item.tag == _TEXT
        if item is node or not (is_text or _is_empty(item)):
            raise BadRequest(f"line {_line(item)}: channels must be a list of names or URLs")


def _check_dependency(node: yaml.Node) -> bool:
    """Check an item of the list; return False for an empty one."""
    if _is_empty(node):
        return False
    with _errors_at(node):
        if isinstance(node, yaml.MappingNode):
            return _check_pip(node)
        if isinstance(node, yaml.ScalarNode):
            if node.tag == _TEXT:
                parse_spec(node.value)
                return True
            raise BadRequest(
                f"{node.value!r} is not the name of a package: write '- NAME={node.value}', or put a name in quotes"
            )
        raise BadRequest("a list inside the list of dependencies is not supported")


def _check_pip(node: yaml.MappingNode) -> bool:
    """Check `pip:` and its list, the only mapping among the dependencies; return False if the list is empty."""
    entries = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    if set(entries) != {"pip"}:
        raise BadRequest(f"a package is not a mapping; write '- {_example(node)}'")
    requirements = entries["pip"]
    if _is_empty(requirements):
        return False
    if not isinstance(requirements, yaml.SequenceNode):
        raise BadRequest("pip must be a list, with '- NAME==VERSION' in each line")
    items = [item for item in requirements.value if not _is_empty(item)]
    for item in items:
        with _errors_at(item):
            if not isinstance(item, yaml.ScalarNode) or item.tag != _TEXT:
                raise BadRequest("an entry of pip is not a text; put it in quotes")
            check_requirement(item.value)
    return bool(items)


def _example(node: yaml.MappingNode) -> str:
    """The first entry of *node*, which was written as `NAME: VERSION`, as a match specification."""
    key, value = node.value[0] if node.value else (None, None)
    name = key.value if isinstance(key, yaml.ScalarNode) else "NAME"
    version = value.value if isinstance(value, yaml.ScalarNode) else "VERSION"
    return f"{name}={version}"[:80] if version.strip("~* ") else name[:80]


def _is_empty(node: yaml.Node) -> bool:
    if isinstance(node, yaml.ScalarNode):
        return node.tag == _NULL or not node.value.strip()
    return not node.value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


@contextmanager
def _errors_at(node: yaml.Node) -> Iterator[None]:
    try:
        yield
    except BadRequest as error:
        message = str(error)
        raise BadRequest(message if message.startswith("line ") else f"line {_line(node)}: {message}") from error


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Return *fields* without empty members; members that every tool reads as absent stay: ids depend on the text."""
    cleaned = {name: value for name, value in fields.items() if value is not None or name not in _DROPPED}
    if isinstance(cleaned.get("channels"), list):
        cleaned["channels"] = _present(cleaned["channels"])
    else:
        cleaned.pop("channels", None)  # an empty text or mapping
    if isinstance(cleaned.get("variables"), dict):
        cleaned["variables"] = {name: value for name, value in cleaned["variables"].items() if value is not None}
    dependencies = [
        {"pip": _present(item["pip"])} if isinstance(item, dict) and item.get("pip") else item
        for item in _present(cleaned["dependencies"])
    ]
    cleaned["dependencies"] = [item for item in dependencies if not isinstance(item, dict) or item["pip"]]
    return cleaned


def _present(values: list[Any]) -> list[Any]:
    """Return the *values* that `_is_empty` is false for."""
    stripped = [(value, value.strip() if isinstance(value, str) else value) for value in values]
    return [value for value, text in stripped if text is not None and text not in ("", [], {})]
