"""Write the sync client from the async one: `python -m tools.sync_client` replaces the words that differ.

With `--check`, it writes nothing, and fails if the files are not current.
"""

import io
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "libs/client/swell_client/_async"
TARGET = SOURCE.with_name("_sync")
WORDS = {
    "AsyncByteStream": "SyncByteStream",
    "AsyncClient": "Client",
    "AsyncContainer": "Container",
    "AsyncGenerator": "Generator",
    "AsyncHttp": "Http",
    "AsyncIterator": "Iterator",
    "AsyncRetrying": "Retrying",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "_async": "_sync",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_bytes": "iter_bytes",
    "asynccontextmanager": "contextmanager",
    "in_thread_async": "in_thread",
    "sleep_async": "sleep",
}
_HEAD = "# Written by tools/sync_client.py from the module of the same name in _async. Do not edit it.\n"


def sync_text(text: str) -> str:
    """The sync form of the module *text*: without `async` and `await`, and with the sync names."""
    replaced = list[tuple[int, int, int, str]]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (row, start), (_, end) = token.start, token.end
        if token.type == tokenize.NAME and token.string in WORDS:
            replaced.append((row, start, end, WORDS[token.string]))
        elif token.type == tokenize.NAME and token.string in {"async", "await"}:
            replaced.append((row, start, end + 1, ""))  # with the blank behind it
        elif token.type == tokenize.STRING and token.start[0] == token.end[0]:
            replaced.append((row, start, end, _in_string(token.string)))
    lines = text.splitlines(keepends=True)
    for row, start, end, word in reversed(replaced):
        line = lines[row - 1]
        lines[row - 1] = line[:start] + word + line[end:]
    return _HEAD + "".join(lines)


def _in_string(text: str) -> str:
    """Annotations in quotes have names as well."""
    for word, other in WORDS.items():
        text = text.replace(word, other)
    return text


def formatted(text: str) -> str:
    for arguments in (("check", "-q", "--select=I", "--fix-only"), ("format", "-q")):
        command = [
            str(Path(sys.executable).with_name("ruff")),
            *arguments,
            "--stdin-filename",
            str(TARGET / "x.py"),
            "-",
        ]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> int:
    """Write the modules, or compare them; return the exit code."""
    stale = list[str]()
    for source in sorted(SOURCE.glob("*.py")):
        target = TARGET / source.name
        text = formatted(sync_text(source.read_text())) if source.read_text() else ""
        if not target.exists() or target.read_text() != text:
            stale.append(target.name)
            if "--check" not in sys.argv:
                target.write_text(text)
    if stale and "--check" in sys.argv:
        print(f"not current: {', '.join(stale)}: run 'python -m tools.sync_client'")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
