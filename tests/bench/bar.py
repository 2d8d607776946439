"""A bar, its measured rounds, and the verdict."""

from collections.abc import Sequence
from enum import StrEnum
from statistics import median

from msgspec import Struct


class Compared(StrEnum):
    """The figure of a round that is compared with the bar."""

    RATIO = "ours / peer"
    DIFFERENCE = "ours - peer"
    ALONE = "ours"


class Verdict(StrEnum):
    AIM = "aim met"
    MUST = "must met"
    MISSED = "missed"


class Bar(Struct, frozen=True, kw_only=True):
    """A target for a figure in *unit*; `must` and `aim` bound the value in `compared`, and a ratio has no unit.

    `peer` names the program that is measured beside Swell. More is better if `at_least`, otherwise less is. `aim`
    equals `must` where no higher target exists.
    """

    name: str
    unit: str
    must: float
    aim: float
    compared: Compared = Compared.ALONE
    peer: str = ""
    at_least: bool = False


class Round(Struct, frozen=True):
    """The figures of Swell and of the peer, measured one after the other or alternately."""

    ours: float
    peer: float | None = None

    def figure(self, compared: Compared) -> float:
        if self.peer is None or compared is Compared.ALONE:
            return self.ours
        return self.ours / self.peer if compared is Compared.RATIO else self.ours - self.peer


class Result(Struct, frozen=True, kw_only=True):
    """The verdict on a bar: medians of the rounds, and the smallest and largest compared figure."""

    bar: Bar
    rounds: tuple[Round, ...]
    ours: float
    peer: float | None
    figure: float
    least: float
    most: float
    verdict: Verdict


def judge(bar: Bar, rounds: Sequence[Round]) -> Result:
    """Compare the median of *rounds*, at least one, with *bar*."""
    figures = [each.figure(bar.compared) for each in rounds]
    peers = [each.peer for each in rounds if each.peer is not None]
    return Result(
        bar=bar,
        rounds=tuple(rounds),
        ours=median(each.ours for each in rounds),
        peer=median(peers) if peers else None,
        figure=median(figures),
        least=min(figures),
        most=max(figures),
        verdict=_verdict(bar, median(figures)),
    )


def _verdict(bar: Bar, figure: float) -> Verdict:
    def reaches(bound: float) -> bool:
        return figure >= bound if bar.at_least else figure <= bound

    return Verdict.AIM if reaches(bar.aim) else Verdict.MUST if reaches(bar.must) else Verdict.MISSED
