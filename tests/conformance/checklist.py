"""The behaviour that Wave's clients rely on, row by row, with the tests that prove it.

`python -m tests.conformance.checklist` prints the table. A test claims rows with `@pytest.mark.row("T1", "R1")`.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]

ROWS = {
    # transport and errors
    "T1": "the command line prints the name of the image and nothing else",
    "T2": "success is 200, and no other status",
    "T3": "a server behind a path prefix works",
    "T4": "a GET may have a Content-Type and no body",
    "T5": "one connection takes several requests",
    "T6": "an invalid request is 4xx with a message in JSON; the command line shows both and ends with 1",
    "T7": "the status of an unknown request is 404",
    "T8": "the same POST, sent again after 503, has one effect",
    "T9": "a POST whose answer was lost and that is sent again starts no second build",
    "T10": "429 has Retry-After: nf-wave obeys it, the command line gives up",
    "T11": "a temporary failure is 502, 503 or 504",
    "T12": "an answer is one JSON object, never empty, never HTML",
    "T13": "members that a client does not know do it no harm",
    "T14": "Traceparent and an Authorization of another system are accepted",
    "T15": "an empty access token is none",
    "T16": "an endpoint without a token is anonymous",
    "T17": "a token of an endpoint that is not paired is 400 and names it",
    "T18": "a missing image is 400 at once, with its name",
    # bodies
    "B1": "absent keys and null are the same",
    "B2": "all keys of nf-wave, mostly null",
    "B3": "a config of five nulls is none",
    "B4": "no layers and a command",
    "B5": "null layers and a variable",
    "B6": "a mirror with a config of five nulls is no conflict",
    "B7": "a mirror with a config, includes, a file or freeze is 400",
    "B8": "a timestamp in any spelling, or none",
    "B9": "unknown keys are ignored",
    "B10": "keys in any order",
    "B11": "a workspace beyond 32 bits",
    "B12": "options of pixi count for pixi only",
    "B13": "no channels, or null",
    "B14": "one URL as the entry of packages",
    "B15": "an entry with a blank in it",
    "B16": "an environment, with channels merged in",
    "B17": "packages and containerFile exclude each other",
    "B18": "condaFile is of the first version",
    "B19": "CRAN needs no channels",
    "B20": "compression with only a mode",
    "B21": "scan levels without a mode",
    "B22": "the spellings of amd64 and arm64",
    "B23": "two platforms with packages or a file are one build",
    "B24": "two platforms with an image, or as SIF, are 400",
    "B25": "no platform is linux/amd64",
    "B26": "skipHashing of a layer is accepted",
    "B27": "each architecture gets its own Fusion layer",
    "B28": "a body of 20 MiB is accepted, a larger one clearly refused",
    "B29": "no source at all is 400",
    "B30": "escaped and raw text are the same",
    "B31": "inspect without an image is 400",
    "B32": "version 2 of the template replaces the clients' default of micromamba 1",
    "B33": "pip:NAME is of pip; pip::NAME is 4xx",
    "B34": "a URL and another entry is an error",
    "B35": "an unknown architecture is 400",
    "B36": "an image pinned by digest with a config is served under a tag made from the digest (Wave: 400)",
    # layers and contexts
    "L1": "a layer's file is at its path, with its mode, owned by root",
    "L2": "a tar without entries for directories",
    "L3": "a tar with entries for directories",
    "L4": "long names in pax headers",
    "L5": "a wrong digest or size is never served",
    "L6": "data: without a media type",
    "L7": "a location of the web",
    "L8": "the same layer twice is the same image",
    "L9": "a build sees the files of its context",
    "L10": "included images come on top, in order",
    "L11": "a command with blanks stays one element",
    "L12": "NAME= is an empty value",
    # the response to a submission
    "R1": "the name of a plain image",
    "R2": "nothing to wait for: succeeded is true",
    "R3": "a new build: its id, not cached, succeeded open",
    "R4": "a build that is there: cached and succeeded",
    "R5": "frozen: its own name, no token, no expiration",
    "R6": "frozen SIF: oras://",
    "R7": "a mirror: its id as buildId, the target's registry",
    "R8": "a scan: scanId, succeeded open",
    "R9": "booleans are booleans",
    "R10": "instants have a zone",
    "R11": "null members may be left out",
    "R12": "a dry run returns the real name and builds nothing",
    "R13": "the same request later: a fresh token, the same image",
    "R14": "the same request many times at once: one build",
    "R15": "-o json prints the members that are known and not null",
    "R16": "-o yaml has instants in quotes",
    # status
    "S1": "a status is there right after the submit",
    "S2": "a build that runs: BUILDING, succeeded open",
    "S3": "a required scan: SCANNING, then DONE",
    "S4": "without a required scan, DONE does not wait for one",
    "S5": "DONE has `succeeded`",
    "S6": "every status has its creationTime",
    "S7": "a duration has a decimal point",
    "S8": "a short duration has no exponent",
    "S9": "a failed build: the reason and an address; the command line ends with 1",
    "S10": "the same with -o json ends with 0 and says so inside",
    "S11": "a scan with too many vulnerabilities",
    "S12": "a scan with allowed vulnerabilities",
    "S13": "a mirror has a mirrorId",
    "S14": "a plain image is DONE at once",
    "S15": "a hundred who poll every second are answered fast and count against no limit",
    "S16": "--await 1s on a slow build gives up after its second poll",
    "S17": "the status of a build, for older clients",
    "S18": "pages for people",
    "S19": "a status is one of four words",
    # inspect, info and the rest
    "I1": "one platform's image: container, with the registry's address",
    "I2": "an index, or the image that it was resolved to",
    "I3": "the config's keys in camelCase",
    "I4": "an image that is not there is 4xx with a message",
    "I5": "a private image with the credentials of a workspace",
    "I6": "the service's version is strict semver",
    "I7": "--info ends with 0 and has no note",
    "I8": "credentials are a bare true or false",
    "I9": "the first frame of a pairing",
    "I10": "the heartbeat of a pairing",
    "I11": "tunnelled calls matched by their ids",
    "I12": "one refresh of a token, one more try",
    # end to end
    "E1": "a pull without login until the token expires",
    "E2": "no pull after that",
    "E3": "a container file with a context, awaited and pulled",
    "E4": "packages, awaited and pulled",
    "E5": "a bundle's program runs at its path",
    "E6": "Fusion's config: entrypoint, variables and a layer of the web",
    "E7": "a mirror has the digest of its source",
    "E8": "a frozen SIF file can be fetched",
}

LATER = {"S18": "there are no pages yet"}

GOLDEN = {
    **dict.fromkeys(range(1, 30), ""),
}
"""The golden examples of Wave's API by number; names of tests end in it, as `_e1`. The value is the reason if there is
no test.
"""


def claims() -> dict[str, list[str]]:
    """Return the tests of each row, as `path::name`."""
    claimed = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for function in _functions(path):
            for row in _rows(function):
                claimed[row].append(f"{path.relative_to(TESTS.parent)}::{function.name}")
    return dict(claimed)


def names() -> list[str]:
    return [function.name for path in TESTS.rglob("test_*.py") for function in _functions(path)]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def _rows(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for call in (node for decorator in function.decorator_list for node in ast.walk(decorator)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.row":
            yield from (str(ast.literal_eval(argument)) for argument in call.args)


def table() -> Iterator[str]:
    proven = claims()
    for row, statement in ROWS.items():
        yield f"{row:4} {statement}"
        yield from (f"       {test}" for test in proven.get(row) or [f"- {LATER.get(row, 'no test')}"])


if __name__ == "__main__":
    print("\n".join(table()))  # noqa: T201
