"""Every stated source has its URL."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
_SOURCE = re.compile(r"\bSources?: ")


def without_url(source: str) -> Iterator[str]:
    """Yield the paragraphs of docstrings and comments in the Python text *source* that name a source without a URL."""
    texts, last = list[str](), 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.STRING and token.string.startswith('"""'):
            texts += token.string.split("\n\n")
        elif token.type == tokenize.COMMENT and texts and token.start[0] == last + 1:
            texts[-1] += token.string
        elif token.type == tokenize.COMMENT:
            texts.append(token.string)
        last = token.start[0] if token.type == tokenize.COMMENT else last
    for text in texts:
        if (match := _SOURCE.search(text)) and "https://" not in text[match.end() :]:
            yield text.strip()


def test_every_source_has_a_url() -> None:
    """A maintainer can read the rule that the code implements without searching for it."""
    folders = [ROOT / name for name in ("libs", "services", "tests", "tools")]
    texts = {str(path): path.read_text() for folder in folders for path in folder.rglob("*.py")}
    del texts[__file__]

    sources = {path: text for path, text in texts.items() if _SOURCE.search(text)}
    assert [(path, found) for path, text in sources.items() if (found := list(without_url(text)))] == []


def test_a_source_without_a_url_is_found() -> None:
    """In docstrings and comments; a URL before the word belongs to something else."""
    assert list(without_url('"""Source: RFC 1."""\n')) == ['"""Source: RFC 1."""']
    assert list(without_url("# See https://example.org. Source: RFC 1.\n"))
    assert not list(without_url('"""Source: RFC 1, https://example.org/1"""\n'))
