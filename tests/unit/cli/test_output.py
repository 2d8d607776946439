"""Output: formats, control characters, help, exit codes, and progress without a terminal."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from swell.api.builds import BuildEnd, BuildStep
from swell_cli.__main__ import COMMANDS, swell
from swell_cli.exits import Exit, describe, exit_code
from swell_cli.output import Format, Result, size, text_of, write
from swell_cli.progress import Plain, ended_step
from swell_cli.wave import main as wave
from swell_client import BuildFailed, Client, NotDone, RequestFailed, SwellClientError, Unreachable
from swell_client.errors import ErrorBody
from swell_client.events import Ended, LogLine, StepChanged, Waiting
from tests.unit.cli.command import Run

RESULT = Result({"id": "a", "n": [1]}, [("ID", "N"), ("a\x1b[31m", "1")], "a")


@pytest.mark.parametrize(
    ("format", "text"),
    [
        (Format.JSON, '{\n  "id": "a",\n  "n": [\n    1\n  ]\n}\n'),
        (Format.YAML, "id: a\nn:\n- 1\n"),
        (Format.NAME, "a\n"),
        (Format.TABLE, "ID      N\na\ufffd[31m  1\n"),
    ],
)
def test_each_format_is_as_documented(format: Format, text: str) -> None:  # noqa: A002
    """Programs parse them. A table has no characters that control a terminal."""
    assert text_of(RESULT, format) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")])
def test_sizes_have_units(count: int, text: str) -> None:
    """People read them."""
    assert size(count) == text


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"wave"}))  # whose help is that of Wave's command line
def test_every_command_has_help_with_its_summary(run: Run, name: str) -> None:
    """`--help` of each command works, and the list of commands has the same ones."""
    ran = run(name, "--help")

    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith(f"Usage: swell {name}")
    assert COMMANDS[name].summary in run("--help").stdout
    if name not in {"config", "logout"}:
        assert "Example" in ran.stdout


def test_help_imports_neither_network_code_nor_rich() -> None:
    """It must appear at once."""
    code = (
        "import sys\nfrom swell_cli.__main__ import swell\n"
        "swell.main(['--help'], standalone_mode=False)\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()

    assert "click" in loaded
    assert set(loaded) & {"httpx2", "rich", "yaml", "ssl", "tenacity", "msgspec", "asyncio", "swell_client"} == set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build",), "exactly one"),
        (("build", ".", "-p", "a"), "exactly one"),
        (("build", "nowhere"), "not a folder"),
        (("build", "-", "-f", "x"), "stdin"),
        (("build", "-f", "nowhere"), "nowhere"),
        (("build", "-p", "a", "--env", "A"), "NAME=VALUE"),
        (("build", "-p", "a", "--cmd", "'"), "--cmd"),
        (("augment",), "IMAGE"),
        (("build", "-p", "a", "-o", "xml"), "xml"),
        (("nothing",), "nothing"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(run: Run, words: tuple[str, ...], message: str) -> None:
    """Nothing is sent."""
    ran = run(*words)

    assert ran.exit_code == 2, ran.output
    assert message in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BuildFailed("x"), Exit.FAILED),
        (NotDone("x"), Exit.NOT_DONE),
        (RequestFailed(401, ErrorBody()), Exit.REFUSED),
        (RequestFailed(429, ErrorBody()), Exit.UNAVAILABLE),
        (RequestFailed(502, ErrorBody()), Exit.UNAVAILABLE),
        (Unreachable("x"), Exit.UNAVAILABLE),
    ],
)
def test_exit_codes_are_as_documented(error: Exception, code: Exit) -> None:
    """Scripts distinguish a failed build from a server that is not there."""
    assert exit_code(error) is code  # type: ignore[arg-type]  # all are errors of the client


def test_an_error_says_what_to_do_next() -> None:
    """The server's own advice, and its request id if the server failed."""
    details = ErrorBody(message="broken", next="Try again.", request_id="r-1")

    assert describe(RequestFailed(500, details)).splitlines() == ["broken", "Try again.", "request id: r-1"]
    assert describe(RequestFailed(400, details)).splitlines() == ["broken", "Try again."]
    assert "doctor" in describe(Unreachable("x"))


def test_plain_progress_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Logs of pipelines: nothing is overwritten, and hostile lines cannot control the terminal."""
    plain = Plain()
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    step = BuildStep(number=1, name="[1/1] RUN x", started=begun, ended=begun + timedelta(seconds=2))

    plain.packed(2048)
    plain.sent(10, 20)
    plain.sent(20, 20)
    for event in (Waiting(3), LogLine(text="hi\x1b]0;x\x07"), StepChanged(step=step)):
        plain.event(event)
    plain.event(Ended(end=BuildEnd(id="bd", succeeded=True, exit_status=0, duration=1.25)))

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "packed 2.0 KiB, sent 20 B",
        "waiting: position 3 in the queue",
        "hi\ufffd]0;x\ufffd",
        "built in 1.2 s",
    ]
    assert ended_step(step) == "✓ [1/1] RUN x  2.0 s"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_swell(run: Run, shell: str) -> None:
    """Shells source them."""
    ran = run("completion", shell)

    assert ran.exit_code == 0
    assert "_SWELL_COMPLETE" in ran.stdout


def test_completion_lists_commands_and_options() -> None:
    """As the shell asks for it."""
    from click.shell_completion import ShellComplete

    complete = ShellComplete(swell, {}, "swell", "_SWELL_COMPLETE")

    assert [item.value for item in complete.get_completions([], "in")] == ["inspect"]
    assert "--dry-run" in [item.value for item in complete.get_completions(["build"], "--dr")]


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


HOSTILE = "a\x1b]52;c;ZXZpbA==\x07\x9b31m\nb"


def test_a_terminal_gets_no_control_characters() -> None:
    """A log, lock file or name of a stranger must not change the terminal; a file gets every byte."""
    screen, file = Screen(), io.StringIO()
    write(HOSTILE, screen)
    write(HOSTILE, file)

    assert screen.getvalue() == "a\ufffd]52;c;ZXZpbA==\ufffd\ufffd31m\nb"
    assert file.getvalue() == HOSTILE


@pytest.mark.parametrize("words", [("lock", "bd-1_1"), ("logs", "bd-1_1"), ("logs", "-f", "bd-1_1")])
def test_commands_show_a_hostile_log_harmlessly(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """The lock file, the log, and the message with which a build has ended."""
    end = BuildEnd(id="bd-1_1", succeeded=False, exit_status=1, duration=1, message=HOSTILE)
    monkeypatch.setattr(Client, "log", lambda *_: HOSTILE)
    monkeypatch.setattr(Client, "lock", lambda *_: HOSTILE)
    monkeypatch.setattr(Client, "log_events", lambda *_: iter([LogLine(text=HOSTILE), Ended(end=end)]))
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with contextlib.suppress(SystemExit):
        swell.main(list(words), standalone_mode=False)

    assert "ZXZpbA==" in out.getvalue() + err.getvalue()
    assert not {"\x1b", "\x07", "\x9b"} & set(out.getvalue() + err.getvalue())


def test_waves_command_shows_a_hostile_refusal_harmlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of an error is the server's."""
    monkeypatch.setattr(wave.Wave, "run", lambda _: (_ for _ in ()).throw(SwellClientError(HOSTILE)))
    err = Screen()
    monkeypatch.setattr(sys, "stderr", err)

    assert wave.main(["-i", "alpine"]) == 1
    assert "ZXZpbA==" in err.getvalue()
    assert "\x1b" not in err.getvalue()


def test_a_text_of_several_lines_has_a_row_for_each() -> None:
    """A container file is readable in a table; its lines are not taken for members."""
    text = text_of(Result({"file": "FROM a\nRUN b\n", "id": "1", "empty": ""}), Format.TABLE)

    assert text == "file   FROM a\n       RUN b\nid     1\nempty\n"


def commands_of(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of each command below *group*."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands_of(command, *path, name)


@pytest.mark.parametrize("words", [words for words in commands_of(swell) if words != ("wave",)], ids=" ".join)
def test_the_help_of_every_command_has_examples(words: tuple[str, ...]) -> None:
    """Also that of the commands of a group. `swell wave` prints the help of Wave's command line."""
    shown = CliRunner().invoke(swell, [*words, "--help"])

    assert shown.exit_code == 0
    assert re.search("Examples?:", shown.output)
