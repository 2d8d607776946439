"""The parts of pages that need no server: log lines, times, lock files, explanations, and where forms come from."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.http.middleware.origin import is_own_page
from gateway.pages import formats
from gateway.pages.explain import explain
from gateway.pages.locks import Change, changes
from gateway.pages.log_lines import as_html
from gateway.pages.timeline import bars
from swell.api.builds import BuildStep
from swell.store.records import Reason

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", "plain"),
        ("<script>alert(1)</script>&", "&lt;script&gt;alert(1)&lt;/script&gt;&amp;"),
        ("\x1b[2J\x1b]0;title\x07\x1b[?25lgone\x07\u202e", "gone"),
        ("10 %\r50 %\r100 %\r", "100 %"),
        (
            "#5 [2/2] RUN a\n#5 DONE 0.1s",
            '<span class="head">#5 [2/2] RUN a</span>\n<span class="done">#5 DONE 0.1s</span>',
        ),
        ("#6 1.20 error: <b>", '<span class="bad">#6 1.20 error: &lt;b&gt;</span>'),
        ("warning: old", '<span class="warn">warning: old</span>'),
        ('\x1b["><img src=x>m', "&#34;&gt;&lt;img src=x&gt;m"),
    ],
)
def test_lines_of_a_log_become_html(text: str, html: str) -> None:
    """Each kind of line has a class; the output of a step cannot add elements to the page."""
    assert as_html(text) == html


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (300 << 20, "300 MiB")]
)
def test_sizes_have_units(count: int, text: str) -> None:
    """Two or three digits are enough to compare layers."""
    assert formats.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.5, "9.5 s"), (59.4, "59 s"), (185, "3:05 min"), (3723, "1:02:03 h")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    """Readers see seconds, minutes or hours."""
    assert formats.duration(seconds) == text


def test_the_steps_are_bars_in_percent() -> None:
    """Each step is shown once, with its last state, where it was in the whole time."""
    first = BuildStep(number=1, name="FROM", started=NOON)
    ended = BuildStep(number=1, name="FROM", started=NOON, ended=NOON + timedelta(seconds=5))
    second = BuildStep(number=2, name="RUN", started=NOON + timedelta(seconds=5))

    drawn = bars([second, first, ended], NOON + timedelta(seconds=20))

    assert [(bar.step.name, bar.start, bar.width, bar.seconds) for bar in drawn] == [
        ("FROM", 0, 25, 5),
        ("RUN", 25, 75, None),
    ]
    assert bars([], NOON) == ()


def test_bars_stay_inside_the_chart() -> None:
    """The clocks of two machines differ: a step may seem to end after its build."""
    step = BuildStep(number=1, name="RUN", started=NOON, ended=NOON + timedelta(hours=1))
    late = BuildStep(number=2, name="RUN", started=NOON + timedelta(hours=2))

    for bar in bars([step, late], NOON + timedelta(seconds=1)):
        assert 0 <= bar.start <= 99.5 and bar.width >= 0.5 and bar.start + bar.width <= 100


def test_two_lock_files_are_compared_by_package() -> None:
    """A user sees which packages were added, removed, or have another version or build."""
    before = "# lock\n@EXPLICIT\nhttps://c/linux-64/bwa-0.7-h1_0.conda#a\nhttps://c/noarch/old-1-0.tar.bz2\n"
    after = "@EXPLICIT\nhttps://c/linux-64/bwa-0.8-h2_1.conda#b\nhttps://c/noarch/new-py-2-0.conda\n"

    assert changes(before, after) == (
        Change("bwa", "0.7-h1_0", "0.8-h2_1"),
        Change("new-py", "", "2-0"),
        Change("old", "1-0", ""),
    )
    assert changes(before, before) == ()


@pytest.mark.parametrize("reason", [*Reason, None])
def test_every_failure_is_explained(reason: Reason | None) -> None:
    """Each kind has a cause, a next step, and says whose problem it is."""
    explanation = explain(reason)

    assert explanation.cause and explanation.advice
    assert explanation.is_users == (reason is None or reason.is_users)


OWN = {"host": "swell.example:9090", "origin": "http://swell.example:9090"}


@pytest.mark.parametrize("headers", [OWN, {"host": "swell.example", "sec-fetch-site": "same-origin"}])
def test_forms_of_this_server_are_accepted(headers: dict[str, str]) -> None:
    """Browsers say where a form comes from, with or without TLS, also behind a proxy that changes `Host`."""
    assert is_own_page([(name.encode(), value.encode()) for name, value in headers.items()])


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "swell.example"},
        {},
        {"origin": ""},
        OWN | {"origin": "https://evil.example"},
        OWN | {"origin": "null"},
        OWN | {"origin": "http://swell.example"},
        OWN | {"sec-fetch-site": "cross-site"},
        OWN | {"sec-fetch-site": "same-site"},
        OWN | {"sec-fetch-site": "none"},
    ],
)
def test_forms_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    """Another site cannot start or cancel builds in the name of a user who visits it."""
    assert not is_own_page([(name.encode(), value.encode()) for name, value in headers.items()])
