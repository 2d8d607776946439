"""Bars as values: what is asked, what some rounds measured, and whether that is enough."""

from collections.abc import Sequence
from enum import StrEnum
from statistics import median

from msgspec import Struct


class Compared(StrEnum):
    """Which figure of a round is held against the bar."""

    RATIO = "ours / peer"
    DIFFERENCE = "ours - peer"
    ALONE = "ours"


class Verdict(StrEnum):
    AIM = "aim met"
    MUST = "must met"
    MISSED = "missed"


class Bar(Struct, frozen=True, kw_only=True):
    """What is asked of a figure in *unit*; `must` and `aim` bound what is `compared`: a ratio has no unit.

    `peer` says who is measured beside us. More is better when `at_least`, otherwise less is. Where the house has no
    aim beyond the must, they are the same.
    """

    name: str
    unit: str
    must: float
    aim: float
    compared: Compared = Compared.ALONE
    peer: str = ""
    at_least: bool = False


class Round(Struct, frozen=True):
    """What was measured of ours and of the peer, right after each other or by turns."""

    ours: float
    peer: float | None = None

    def figure(self, compared: Compared) -> float:
        if self.peer is None or compared is Compared.ALONE:
            return self.ours
        return self.ours / self.peer if compared is Compared.RATIO else self.ours - self.peer


class Result(Struct, frozen=True, kw_only=True):
    """A bar and how we stand: medians of the rounds, and the `least` and `most` of the compared figure."""

    bar: Bar
    rounds: tuple[Round, ...]
    ours: float
    peer: float | None
    figure: float
    least: float
    most: float
    verdict: Verdict


def judge(bar: Bar, rounds: Sequence[Round]) -> Result:
    """Hold *rounds*, at least one, against *bar*; the median round counts."""
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
