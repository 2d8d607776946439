"""BuildKit's progress documents as the lines of a log."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from builder.buildkit.progress import CHUNK, LONGEST_NAME, MOST_VERTICES, Progress
from swell.api.builds import BuildStep
from swell_sandbox.lines import LONGEST_PIECE

BEGAN = "2026-11-29T20:00:00Z"
RUN = {"digest": "sha256:1", "name": "[2/3] RUN echo hello", "started": BEGAN}


def document(**members: list[dict[str, Any]]) -> bytes:
    return json.dumps(members).encode()


def output(text: str, at: str = "2026-11-29T20:00:01.5Z", vertex: str = "sha256:1") -> bytes:
    data = base64.b64encode(text.encode()).decode()
    return document(logs=[{"vertex": vertex, "data": data, "timestamp": at}])


def fed(progress: Progress, *documents: bytes) -> list[bytes]:
    """The chunks of lines that *documents* become."""
    return [item for each in documents for item in progress.feed(each) if isinstance(item, bytes)]


def lines(progress: Progress, *documents: bytes) -> list[str]:
    return [line.decode() for chunk in fed(progress, *documents) for line in chunk.split(b"\n")]


def steps(progress: Progress, *documents: bytes) -> list[BuildStep]:
    return [item for each in documents for item in progress.feed(each) if isinstance(item, BuildStep)]


def moved(current: int, at: str, **members: Any) -> bytes:
    """The state of a download of 1,000 bytes."""
    transfer = {"id": "sha256:abc", "vertex": "sha256:1", "current": current, "total": 1000, "started": BEGAN}
    return document(statuses=[{**transfer, "timestamp": f"2026-11-29T20:00:{at}Z"} | members])


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
    chunks = fed(progress, output(text))
    assert max(map(len, chunks)) <= max(CHUNK, LONGEST_PIECE)
    joined = b"\n".join(chunks)
    assert all(b"#1 1.500 %d\n" % number in joined for number in (0, 5_000, 9_999))
    assert b"".join(chunks).count(b"x") == 100_000


def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    """Its beginning has the prefix once; nothing waits for a newline that never comes."""
    progress = Progress()
    list(progress.feed(document(vertexes=[RUN])))
    chunks = fed(progress, *[output("x" * 10_000)] * 20)
    chunks += [*fed(progress, output("\n")), *progress.end()]
    assert max(map(len, chunks)) <= LONGEST_PIECE
    assert b"".join(chunks) == b"#1 1.500 " + b"x" * 200_000


def test_what_is_no_progress_is_a_line() -> None:
    """buildctl ends with a sentence when a build fails."""
    assert lines(Progress(), b"error: failed to solve: no") == ["error: failed to solve: no"]


def test_transfers_are_lines_now_and_then() -> None:
    """A download has a line at its start, its end, and not for each of its pieces."""
    progress = Progress()
    list(progress.feed(document(vertexes=[RUN])))
    states = [moved(at, f"{at // 20:02}") for at in range(0, 1000, 10)]
    found = lines(progress, *states, moved(1000, "51", completed="2026-11-29T20:00:02Z"))
    assert 2 <= len(found) <= 14
    assert found[-1] == "#1 sha256:abc 1.00kB / 1.00kB 2.0s done"
    assert next(iter(progress.steps.values())).total_bytes == 1000


def test_a_transfer_of_unknown_size_has_a_line_each_five_seconds() -> None:
    """A context that is sent for minutes must not fill the log."""
    progress = Progress()
    list(progress.feed(document(vertexes=[RUN])))
    found = lines(progress, *(moved(at, f"{at // 10:02}.{at % 10}", total=0) for at in range(100, 300)))
    assert found[:2] == ["#1 sha256:abc 100B", "#1 sha256:abc 150B"]
    assert len(found) == 4


def test_a_step_is_an_event_when_it_starts_and_when_it_ends() -> None:
    """Each event has the whole state, so a watcher keeps the last one of each number."""
    began = datetime(2026, 11, 29, 20, tzinfo=UTC)
    progress, ended = Progress(), RUN | {"completed": "2026-11-29T20:00:02Z"}
    first, last = steps(progress, document(vertexes=[RUN]), moved(1000, "01"), document(vertexes=[ended]))[::2]
    assert first == BuildStep(number=1, name="[2/3] RUN echo hello", started=began)
    assert last == structs.replace(first, ended=began + timedelta(seconds=2), transferred=1000)


def test_cached_and_failed_steps_are_marked() -> None:
    """A watcher need not read the lines for it."""
    cached = RUN | {"completed": BEGAN, "cached": True}
    failed = {"digest": "sha256:2", "name": "RUN false", "started": BEGAN, "completed": BEGAN, "error": "exit code: 1"}
    found = steps(Progress(), document(vertexes=[cached, failed]))
    assert [(step.number, step.cached, step.error) for step in found] == [(1, True, ""), (2, False, "exit code: 1")]


def test_a_step_comes_after_its_line() -> None:
    """A page that jumps from a step to its first line finds it."""
    found = list(Progress().feed(document(vertexes=[RUN | {"completed": BEGAN}])))
    assert [type(item) for item in found] == [bytes, bytes, BuildStep]


def test_a_download_changes_its_step_once_a_second() -> None:
    """Progress of large bases is visible, and ten states a second are not ten events."""
    progress = Progress()
    list(progress.feed(document(vertexes=[RUN])))
    found = steps(progress, *(moved(at, f"{at // 100:02}.{at % 100:02}") for at in range(1000)))
    assert len(found) == 9
    assert [step.transferred for step in found] == [100 * second for second in range(1, 10)]


def test_steps_and_transfers_are_bounded() -> None:
    """A hostile base may have any number of layers, and a name any length."""
    progress = Progress()
    many = [{"digest": str(number), "name": "x" * 5_000, "started": BEGAN} for number in range(MOST_VERTICES + 5)]
    for vertex in many:
        list(progress.feed(document(vertexes=[vertex])))
    assert len(progress.steps) == MOST_VERTICES
    assert max(len(step.name) for step in progress.steps.values()) == LONGEST_NAME
