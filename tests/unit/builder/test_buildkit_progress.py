"""BuildKit's progress documents as the lines of a log."""

import base64
import json
from typing import Any

from builder.buildkit.progress import CHUNK, Progress
from swell_sandbox.lines import LONGEST_PIECE

BEGAN = "2026-11-29T20:00:00Z"
RUN = {"digest": "sha256:1", "name": "[2/3] RUN echo hello", "started": BEGAN}


def document(**members: list[dict[str, Any]]) -> bytes:
    return json.dumps(members).encode()


def output(text: str, at: str = "2026-11-29T20:00:01.5Z", vertex: str = "sha256:1") -> bytes:
    data = base64.b64encode(text.encode()).decode()
    return document(logs=[{"vertex": vertex, "data": data, "timestamp": at}])


def lines(progress: Progress, *documents: bytes) -> list[str]:
    return [line.decode() for each in documents for chunk in progress.feed(each) for line in chunk.split(b"\n")]


def test_a_step_reads_as_in_plain_progress() -> None:
    """Number, seconds since its start, and how it ended."""
    ended = document(vertexes=[RUN | {"completed": "2026-11-29T20:00:02Z"}])
    found = lines(Progress(), document(vertexes=[RUN]), output("hello\nworld\n"), ended)
    assert found == ["#1 [2/3] RUN echo hello", "#1 1.500 hello", "#1 1.500 world", "#1 DONE 2.0s"]


def test_cached_and_failed_steps_say_so() -> None:
    """The first failed step is known to who asks why."""
    progress = Progress()
    cached = RUN | {"completed": BEGAN, "cached": True}
    failed = {"digest": "sha256:2", "name": "RUN false", "started": BEGAN, "completed": BEGAN, "error": "exit code: 1"}
    found = lines(progress, document(vertexes=[cached, failed]))
    assert found[-2:] == ["#1 CACHED", "#2 ERROR: exit code: 1"]
    assert progress.failed is not None
    assert progress.failed.name == "RUN false"


def test_a_line_may_come_in_parts() -> None:
    """A part without its newline waits for the rest, and for the end of its step at most."""
    progress = Progress()
    found = lines(progress, document(vertexes=[RUN]), output("hel"), output("lo\nrest"))
    assert found[1:] == ["#1 1.500 hello"]
    assert lines(progress, document(vertexes=[RUN | {"completed": BEGAN}]))[0].endswith(" rest")


def test_lines_come_in_bounded_chunks_and_none_is_lost() -> None:
    """Calls cost time, and lines without end cost memory."""
    progress, text = Progress(), "".join(f"{number}\n" for number in range(10_000)) + "x" * 100_000 + "\n"
    list(progress.feed(document(vertexes=[RUN])))
    chunks = list(progress.feed(output(text)))
    assert max(map(len, chunks)) <= max(CHUNK, LONGEST_PIECE)
    joined = b"\n".join(chunks)
    assert all(b"#1 1.500 %d\n" % number in joined for number in (0, 5_000, 9_999))
    assert b"".join(chunks).count(b"x") == 100_000


def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    """Its beginning has the prefix once; nothing waits for a newline that never comes."""
    progress = Progress()
    list(progress.feed(document(vertexes=[RUN])))
    chunks = [chunk for _ in range(20) for chunk in progress.feed(output("x" * 10_000))]
    chunks += [*progress.feed(output("\n")), *progress.end()]
    assert max(map(len, chunks)) <= LONGEST_PIECE
    assert b"".join(chunks) == b"#1 1.500 " + b"x" * 200_000


def test_what_is_no_progress_is_a_line() -> None:
    """buildctl ends with a sentence when a build fails."""
    assert lines(Progress(), b"error: failed to solve: no") == ["error: failed to solve: no"]


def test_transfers_are_lines_now_and_then() -> None:
    """A download has a line at its start, its end, and not for each of its pieces."""
    progress = Progress()
    list(progress.feed(document(vertexes=[RUN])))
    moved = [
        {"id": "sha256:abc", "vertex": "sha256:1", "current": at, "total": 1000, "timestamp": BEGAN, "started": BEGAN}
        for at in range(0, 1001, 10)
    ]
    moved[-1]["completed"] = "2026-11-29T20:00:02Z"
    found = [line for each in moved for line in lines(progress, document(statuses=[each]))]
    assert 2 <= len(found) <= 6
    assert found[-1] == "#1 sha256:abc 1.00kB / 1.00kB 2.0s done"
    assert next(iter(progress.steps.values())).total_bytes == 1000
