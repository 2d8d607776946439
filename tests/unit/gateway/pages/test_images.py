"""The layers of an image with their instructions, and the charts of usage."""

from datetime import date

import pytest

from gateway.pages.images import base_of, instruction_of, kind_of, layer_rows, platform_rows
from gateway.pages.usage import DAYS, METRICS, chart, usage_view
from gateway.usage import Usage, UsageQuery
from swell.api.inspect import (
    ConfigInfo,
    ContainerInfo,
    Content,
    EntryPlatform,
    HistoryEntry,
    IndexEntry,
    IndexInfo,
    ManifestInfo,
    Referrer,
    RunInfo,
)
from swell.oci.digest import digest_of

DIGESTS = [digest_of(bytes([number])) for number in range(3)]


def image(
    *history: HistoryEntry, sizes: tuple[int, ...] = (300, 100), labels: dict[str, str] | None = None
) -> ContainerInfo:
    """An image with layers of these *sizes*."""
    layers = tuple(Content(digest=digest, size=size) for digest, size in zip(DIGESTS, sizes, strict=False))
    return ContainerInfo(
        registry="docker.io",
        host_name="https://docker.io",
        image_name="a/b",
        reference="1",
        digest=DIGESTS[0],
        config=ConfigInfo(config=RunInfo(labels=labels or {}), history=history),
        manifest=ManifestInfo(config=Content(digest=DIGESTS[2], size=1), layers=layers),
        v1=False,
        v2=True,
        oci=True,
    )


def test_instructions_are_beside_the_layers_that_they_made() -> None:
    """An instruction without a layer has no size; the shares are those of the compressed image."""
    rows = layer_rows(
        image(HistoryEntry("ADD a"), HistoryEntry("ENV b=c", empty_layer=True), HistoryEntry(comment="by a tool"))
    )

    assert [(row.instruction, row.digest, row.share) for row in rows] == [
        ("ADD a", DIGESTS[0], 75),
        ("ENV b=c", "", 0),
        ("by a tool", DIGESTS[1], 25),
    ]


def test_layers_and_history_need_not_agree() -> None:
    """Images of some tools have no history, and a wrong one must not break the page."""
    assert [row.digest for row in layer_rows(image())] == DIGESTS[:2]
    assert [row.digest for row in layer_rows(image(*[HistoryEntry("RUN x")] * 3))] == [*DIGESTS[:2], ""]
    assert [row.share for row in layer_rows(image(sizes=(0,)))] == [0]


@pytest.mark.parametrize(
    ("created_by", "instruction"),
    [
        ('/bin/sh -c #(nop)  CMD ["bash"]', 'CMD ["bash"]'),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("RUN /bin/sh -c make # buildkit", "RUN /bin/sh -c make"),
        ("x" * 400, "x" * 300 + "…"),
    ],
)
def test_instructions_are_shown_as_they_were_written(created_by: str, instruction: str) -> None:
    """Builders add words of their own."""
    assert instruction_of(HistoryEntry(created_by)) == instruction


def test_the_base_is_what_the_builder_has_noted() -> None:
    """Annotations and labels have the same names."""
    assert base_of(image(labels={"org.opencontainers.image.base.name": "debian:12"})) == ("debian:12", "")
    assert base_of(image()) == ("", "")


def test_attestations_come_after_the_platforms() -> None:
    """They cannot run, and are marked."""
    note = {"vnd.docker.reference.type": "attestation-manifest"}
    index = IndexInfo(
        manifests=(
            IndexEntry(digest=DIGESTS[0], size=1, annotations=note, platform=EntryPlatform("unknown", "unknown")),
            IndexEntry(digest=DIGESTS[1], size=1, platform=EntryPlatform("arm", "linux", "v7")),
            IndexEntry(digest=DIGESTS[2], size=1),
        )
    )
    assert [(row.name, row.is_attestation) for row in platform_rows(index)] == [
        ("linux/arm/v7", False),
        ("no platform", False),
        ("no platform", True),
    ]


class DailyCounters:
    """Counts one for each day and ten for each organisation in total; records the queries."""

    def __init__(self) -> None:
        self.asked: list[UsageQuery] = []

    async def usage(self, query: UsageQuery) -> Usage:
        self.asked.append(query)
        return Usage(1, {}) if query.day else Usage(20, {"b.example": 10, "a.example": 10})


async def test_usage_is_counted_per_day_and_organisation() -> None:
    """The charts are those of the chosen organisation; the totals list all of them."""
    counters = DailyCounters()

    view = await usage_view(counters, date(2026, 3, 1), "a.example")

    assert [drawn.total for drawn in view.charts] == [DAYS] * len(METRICS)
    assert (view.days[0], view.days[-1]) == (date(2026, 2, 16), date(2026, 3, 1))
    assert view.organisations == (("a.example", (10,) * len(METRICS)), ("b.example", (10,) * len(METRICS)))
    assert [chart.show(2048) for chart in view.charts if chart.metric in {"pulls", "bytes"}] == ["2,048", "2.0 KiB"]
    assert {query.organisation for query in counters.asked if query.day} == {"a.example"}


def test_the_largest_bar_is_as_high_as_the_chart() -> None:
    """A day without counts has no bar; a chart without counts is empty."""
    drawn = chart("pulls", "Pulls", [date(2026, 3, 1), date(2026, 3, 2)], [0, 8])
    assert [(bar.y, bar.height) for bar in drawn.bars] == [(100, 0), (0, 100)]
    assert chart("pulls", "Pulls", [date(2026, 3, 1)], [0]).bars[0].height == 0


@pytest.mark.parametrize(
    ("artifact_type", "predicate", "kind"),
    [
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "https://sigstore.dev/cosign/sign/v1", "signature"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "https://slsa.dev/provenance/v1", "provenance"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "https://spdx.dev/Document/v2.3", "SBOM (SPDX)"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "", "sigstore bundle"),
        ("application/spdx+json", "", "SBOM (SPDX)"),
        ("application/vnd.in-toto+json", "", "attestation"),
        ("application/vnd.cncf.notary.signature", "", "signature"),
        ("application/vnd.example", "https://example.org", "other artifact"),
        (None, "", "other artifact"),
    ],
)
def test_referrers_have_a_word_for_their_kind(artifact_type: str | None, predicate: str, kind: str) -> None:
    """The type of the statement in a bundle says more than that of the bundle."""
    annotations = {"dev.sigstore.bundle.predicateType": predicate} if predicate else None
    referrer = Referrer(digest=digest_of(b""), size=0, artifact_type=artifact_type, annotations=annotations)

    assert kind_of(referrer) == kind
