"""Why a build failed, from the last lines of buildctl."""

import pytest

from builder.buildkit.failures.diagnose import diagnose
from swell.store.records import Reason


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        (
            'error: failed to solve: process "/bin/sh -c exit 7" did not complete successfully: exit code: 7',
            Reason.RECIPE,
            "'/bin/sh -c exit 7' ended with exit status 7",
        ),
        (
            'error: failed to solve: process "/bin/sh -c x" did not complete successfully: exit code: 137',
            Reason.MEMORY,
            "was killed",
        ),
        (
            "error: failed to solve: dockerfile parse error on line 3: unknown instruction: FOO",
            Reason.RECIPE,
            "unknown instruction: FOO",
        ),
        (
            "error: failed to solve: r.org/x:1: failed to resolve source metadata for r.org/x:1: r.org/x:1: not found",
            Reason.BASE_IMAGE,
            "r.org/x:1: not found",
        ),
        (
            "error: failed to solve: r.org/x:1: failed to resolve source metadata for r.org/x:1: unexpected status "
            "from HEAD request to http://r.org/v2/x/manifests/1: 401 Unauthorized",
            Reason.BASE_IMAGE,
            "401",
        ),
        ("error: failed to solve: failed to push r.org/x:1: unexpected status: 403 Forbidden", Reason.PUSH, "403"),
        (
            'error: failed to solve: failed to calculate checksum of ref x: "/nothing": not found',
            Reason.RECIPE,
            "/nothing",
        ),
        ("error: failed to solve: network.host is not allowed", Reason.RECIPE, "--network=host is not allowed here"),
        ("error: failed to solve: write /x: no space left on device", Reason.DISK, "disk of the builder is full"),
        ("error: something that was never seen", Reason.ENGINE, "never seen"),
    ],
)
def test_an_error_has_a_reason(line: str, reason: Reason, words: str) -> None:
    """The user's faults are the user's; the sentence says what to mend."""
    failure = diagnose(1, [b"#5 ERROR: anything", line.encode()])
    assert failure.reason is reason
    assert words in str(failure)


def test_what_the_kernel_says_comes_first() -> None:
    """A step that was killed for its memory may exit with any status."""
    line = b'error: failed to solve: process "/bin/sh -c x" did not complete successfully: exit code: 2'
    assert diagnose(1, [line], killed=True).reason is Reason.MEMORY


def test_a_crash_is_the_engines() -> None:
    """A closed connection says nothing about the recipe."""
    assert diagnose(1, [b"error: rpc error: EOF, not found"], crashed=True).reason is Reason.ENGINE


def test_the_registrys_own_words_are_in_the_error() -> None:
    """buildkitd only knows that the gateway refused."""
    failure = diagnose(1, [b"error: failed to solve: failed to push x: 502"], refused_push="r.org answers 403")
    assert "r.org answers 403" in str(failure)


def test_an_error_of_git_has_its_next_line() -> None:
    """The first line of git's error ends with a colon and says nothing."""
    tail = [b"error: failed to solve: failed to load cache key: failed to fetch remote u: git stderr:", b"fatal: no"]
    assert "git stderr: fatal: no" in str(diagnose(1, tail))
