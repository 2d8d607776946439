"""The last lines of buildah give the reason of a failure."""

import pytest

from builder.buildah.failures import CacheProblem, diagnose_build, diagnose_cache, diagnose_push
from swell.store.records import Reason

STEP = b'Error: building at STEP "RUN make": while running runtime: exit status '


UNKNOWN = b'Error: building at STEP "FOO ": Build error: Unknown instruction: "FOO" &imagebuilder.Step{Env:[]string{}}'


@pytest.mark.parametrize(
    ("status", "tail", "reason", "words"),
    [
        (2, [b"make: no rule", STEP + b"2"], Reason.RECIPE, "'RUN make' ended with exit status 2"),
        (1, [b"container exited on killed", STEP + b"1"], Reason.MEMORY, "too much memory"),
        (137, [STEP + b"137"], Reason.MEMORY, "too much memory"),
        (1, [b"cp: No space left on device", STEP + b"1"], Reason.DISK, "disk"),
        (1, [b"exec /bin/sh: exec format error", STEP + b"1"], Reason.RECIPE, "platform"),
        (1, [b"runc create failed: cgroup trouble", STEP + b"1"], Reason.ENGINE, "could not be started"),
        (1, [b'runc create failed: exec: "/bin/sh": no such file', STEP + b"1"], Reason.RECIPE, "exit status 1"),
        (125, [b'Error: building at STEP "COPY x /": no such file'], Reason.RECIPE, "COPY x"),
        (125, [b"Error: creating build container: reading manifest: denied"], Reason.BASE_IMAGE, "denied"),
        (125, [b"Error: creating build container: mounting: invalid argument"], Reason.ENGINE, "mounting"),
        (125, [b"Error: building: no stages to build"], Reason.RECIPE, "no stages to build"),
        (125, [UNKNOWN], Reason.RECIPE, 'Build error: Unknown instruction: "FOO".'),
        (-9, [], Reason.ENGINE, "exit status -9"),
        (125, [b"Error: \xff\x00"], Reason.ENGINE, "\x00"),
    ],
)
def test_a_build_failure_has_a_reason(status: int, tail: list[bytes], reason: Reason, words: str) -> None:
    """The reason says who can fix it; the message is for the client."""
    failure = diagnose_build(status, tail)
    assert failure.reason is reason
    assert words in str(failure)


@pytest.mark.parametrize(
    "said", [UNKNOWN, b'Error: building at STEP "COPY <<EOF /a": copier: stat: "/<<EOF": no such file']
)
def test_heredocs_that_the_engine_does_not_know_are_named(said: bytes) -> None:
    """Buildah's own error does not say that here-documents are the problem."""
    failure = diagnose_build(125, [said], heredoc=True)
    assert failure.reason is Reason.RECIPE
    assert "here-document" in str(failure)
    assert "here-document" not in str(diagnose_build(125, [b'Error: building at STEP "COPY x /": no x'], heredoc=True))


def test_what_a_step_prints_is_not_taken_for_buildahs_words() -> None:
    """The last error line is buildah's own."""
    failure = diagnose_build(3, [b"Error: creating build container: a lie", STEP + b"3"])
    assert (failure.reason, failure.exit_status) == (Reason.RECIPE, 3)


def test_a_sentence_has_an_end() -> None:
    """A command line may be of any length; a message may not."""
    failure = diagnose_build(2, [b'Error: building at STEP "RUN ' + b"x" * 9999 + STEP[29:] + b"2"])
    assert len(str(failure)) < 400


def test_a_push_failure_is_ours() -> None:
    """The user cannot mend the registry's credentials."""
    failure = diagnose_push(125, [b"Copying blob", b"Error: pushing image: unauthorized"])
    assert failure.reason is Reason.PUSH
    assert "unauthorized" in str(failure)


def test_a_process_killed_for_memory_always_has_that_reason() -> None:
    """A step may hide it, and end with a status of its own."""
    failure = diagnose_build(1, [STEP + b"1"], no_memory=True)
    assert (failure.reason, failure.exit_status) == (Reason.MEMORY, 137)
    assert "'RUN make' was killed" in str(failure)


def test_a_failed_cache_is_distinguished_from_a_failed_build() -> None:
    """Without it, the build can go on; what a step prints does not count."""
    lie = b"Error: failed pushing cache to {x}: denied"
    history = b"Error: committing: internal error: history lists 2 non-empty layers, but we have 3 layers on disk"
    assert diagnose_cache([b"--> Pushing cache", lie]) is CacheProblem.REFUSED
    assert diagnose_cache([history]) is CacheProblem.NO_HISTORY
    assert diagnose_cache([lie, STEP + b"3"]) is None
