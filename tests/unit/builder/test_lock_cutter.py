"""Lock files are cut out of a build's output, and nothing else is."""

from builder.domain.lock_cutter import LONGEST, LockCutter

START, END = b">> CONDA_LOCK_START", b"<< CONDA_LOCK_END"
STEP = b"STEP 3/4: RUN micromamba install && echo '>> CONDA_LOCK_START' && cat x && echo '<< CONDA_LOCK_END'"


def cut(*lines: bytes) -> tuple[list[bytes], bytes | None]:
    cutter = LockCutter()
    output = [piece for line in lines for piece in cutter.feed(line)]
    return output + cutter.end(), cutter.lock


def test_what_stands_between_the_marks_is_the_lock_file() -> None:
    """The engine prints the command first, with its markers; that is ordinary output."""
    lines, lock = cut(STEP, START, b"@EXPLICIT", b"https://a/b.conda", END, b"COMMIT")
    assert lines == [STEP, b"COMMIT"]
    assert lock == b"@EXPLICIT\nhttps://a/b.conda\n"


def test_the_last_lock_file_counts() -> None:
    """A container file may print several."""
    assert cut(START, b"one", END, b"between", START, b"two", END) == ([b"between"], b"two\n")


def test_a_lock_file_without_an_end_is_output() -> None:
    """The build broke; its log must show where."""
    assert cut(b"a", START, b"one") == ([b"a", START, b"one"], None)
    assert cut(START, b"lost", START, b"two", END) == ([START, b"lost"], b"two\n")


def test_an_end_without_a_start_is_output() -> None:
    """Programs print what they like."""
    assert cut(END, b"a") == ([END, b"a"], None)


def test_what_is_too_long_is_output() -> None:
    """A build must not fill the builder's memory."""
    long = b"x" * (LONGEST // 2 + 1)
    assert cut(START, long, long, END) == ([START, long, long, END], None)


def test_lines_of_buildkit_begin_with_their_step() -> None:
    """They come several at once, and those of other steps in between are output."""
    lines, lock = cut(
        b"#7 1.000 before\n#7 1.100 " + START,
        b"#7 1.100 @EXPLICIT\n#8 0.200 other\n#7 1.200 https://a/b.conda",
        b"#7 1.200 " + END + b"\n#7 DONE 1.3s",
    )
    assert lines == [b"#7 1.000 before", b"#8 0.200 other", b"#7 DONE 1.3s"]
    assert lock == b"@EXPLICIT\nhttps://a/b.conda\n"
