"""The cause of a failed step: what its program wrote last, as one line for a person."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.domain.cause import LONGEST, shorten, with_cause
from builder.domain.failure import BuildFailure, name_step, without_dumps
from builder.domain.secrets import Masker
from swell.store.records import Reason

STEP = "The step 'RUN tool' ended with exit status 1."
MICROMAMBA = """\
conda-forge/linux-64                                        Using cache
error    libmamba Could not solve for environment specs
    The following packages are incompatible
    \u251c\u2500 no-such-package does not exist (perhaps a typo or a missing channel);
    \u2514\u2500 tool 2.0** is not installable because it requires
       \u2514\u2500 library 1.* , which does not exist (perhaps a missing channel).
critical libmamba Could not solve for environment specs
"""
PIXI = """\
Error:   \u00d7 failed to solve requirements of environment 'default' for platform 'linux-64'
  \u251c\u2500\u25b6   \u00d7 failed to solve the environment
  \u2502
  \u2570\u2500\u25b6 Cannot solve the request because of: No candidates were found for no-such-package *.
"""


def cause(output: str) -> str:
    """The text after the sentence about the step."""
    if (message := with_cause(STEP, output)) == STEP:
        return ""
    beginning = STEP.rstrip(".")
    assert message.startswith(beginning)
    return message.removeprefix(beginning).removeprefix(": ")


def test_the_last_lines_follow_the_step() -> None:
    """In their order, on one line, because clients print the reason on a line."""
    assert cause("first\n\nsecond:\nthird\n") == "first; second: third"


def test_a_step_without_output_has_no_cause() -> None:
    """Its exit status is all that is known."""
    assert with_cause(STEP, " \n\n") == STEP


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("\x1b[31mboom\x1b[0m\n", "boom"),
        ("10 %\r50 %\r100 %\r\nboom\n", "100 %; boom"),
        ("boom\nboom\nboom\n", "boom"),
        ("\u256d\u2500\u2500\u256e\n\u2502 boom \u2502\n\u2570\u2500\u2500\u256f\n", "boom"),
        ("bo\x00om\x07\n", "bo om"),
    ],
)
def test_a_terminal_s_decoration_is_left_out(output: str, shown: str) -> None:
    """Colours, progress bars and frames have no meaning in JSON."""
    assert cause(output) == shown


def test_what_does_not_fit_is_left_out_line_by_line() -> None:
    """The last lines say what failed."""
    output = "".join(f"line {number} {'x' * 100}\n" for number in range(20))

    text = cause(output)

    assert text.endswith(f"line 19 {'x' * 100}")
    assert text.startswith("line 15 ")
    assert len(text) <= LONGEST


def test_a_long_line_keeps_its_end() -> None:
    """Programs write the cause last: `cannot do this: cannot do that: connection refused`."""
    text = cause("cannot " * 200 + "connection refused")

    assert text.startswith("\u2026cannot ")
    assert text.endswith("connection refused")
    assert len(text) <= LONGEST


def test_a_url_is_whole_or_absent() -> None:
    """A part of a URL is a wrong URL."""
    url = "https://example.org/" + "a" * 2000

    assert with_cause(STEP, url) == STEP
    assert cause(f"{url}\nboom") == "boom"
    assert shorten(f"see {url}") == "see\u2026"


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300), max_size=60))
def test_no_word_is_cut(words: list[str]) -> None:
    """Each word of the reason is a word of the output."""
    text = cause(" ".join(words))

    assert len(text) <= LONGEST
    assert set(text.removeprefix("\u2026").split()) <= set(words)
    assert set(shorten(" ".join(words), 100).removesuffix("\u2026").split()) <= set(words)


def test_micromamba_and_pixi_explain_as_conda_direct_does() -> None:
    """With the words of `conda/direct`, and without the step, whose text is the template's and not the user's."""
    assert with_cause(STEP, MICROMAMBA) == (
        "The packages cannot be installed together: no-such-package does not exist (perhaps a typo or a missing "
        "channel); tool 2.0** is not installable because it requires library 1.* , which does not exist (perhaps a "
        "missing channel)."
    )
    assert with_cause(STEP, PIXI) == (
        "The packages cannot be installed together: No candidates were found for no-such-package *."
    )


def test_a_long_explanation_keeps_its_beginning() -> None:
    """The root of the tree names the package of the user."""
    text = with_cause(STEP, MICROMAMBA.replace("(perhaps a typo or a missing channel)", "typo " * 200))

    assert text.startswith("The packages cannot be installed together: no-such-package does not exist typo")
    assert text.endswith("typo\u2026")


def test_secrets_are_masked_before_anything_is_cut() -> None:
    """A part of a secret is not recognized, and would be shown."""
    masker = Masker([b"correct horse battery"])
    output = "correct horse battery " + "x " * 290
    failure = BuildFailure(Reason.RECIPE, "The step 'correct horse battery' failed.", 1, output=output)

    explained = failure.explained(lambda text: masker.mask(text.encode()).decode())

    assert "horse" not in str(explained)
    assert "battery" not in str(explained)
    assert (explained.reason, explained.exit_status) == (Reason.RECIPE, 1)


def test_values_of_go_are_left_out() -> None:
    """They are the engine's memory, and nothing that a user can change."""
    text = 'error during bulk transfer for copier.request{Request:"put", Root:"/", Stat:copier.Stat{}}: no such file'

    assert without_dumps(text) == "error during bulk transfer: no such file"
    assert without_dumps('RUN echo ${HOME} {"a": {}}') == 'RUN echo ${HOME} {"a": {}}'


def test_a_step_is_named_in_one_short_line() -> None:
    """The steps of templates are many lines of shell; their output is more useful."""
    assert name_step("RUN a \\\n  && b") == "The step 'RUN a \\ && b'"
    assert len(name_step("RUN " + "word " * 200)) < 200
