"""Own metrics have the same samples as those of prometheus_client."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from swell.observe.instruments import SHORT, CacheCounter, Durations

_OURS = Durations("test_own_seconds", "Seconds.", ("route",))


def samples(text: str, name: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of the metric *name*, without the time of creation, which only prometheus_client has."""
    (family,) = [each for each in text_string_to_metric_families(text) if each.name == name]
    return {
        (each.name.removeprefix(name), tuple(sorted(each.labels.items()))): each.value
        for each in family.samples
        if not each.name.endswith("_created")
    }


@given(st.lists(st.one_of(st.sampled_from(SHORT), st.floats(0, 100)), max_size=20))
def test_durations_have_the_samples_of_a_histogram(seconds: list[float]) -> None:
    """Bounds belong to their buckets, buckets are cumulative, and the sum is exact to rounding."""
    own, theirs = CollectorRegistry(), CollectorRegistry()
    _OURS._recorded.clear()
    own.register(_OURS)
    peer = Histogram("test_peer_seconds", "Seconds.", ("route",), buckets=SHORT, registry=theirs)
    for each in seconds:
        _OURS.observe(each, "/v2")
        peer.labels("/v2").observe(each)

    ours = samples(generate_latest(own).decode(), "test_own_seconds")

    assert ours == samples(generate_latest(theirs).decode(), "test_peer_seconds")


def test_lookups_of_caches_with_one_name_are_added() -> None:
    """Each process may have several caches of a kind."""
    first, second = CacheCounter("test"), CacheCounter("test")
    first.hit()
    second.hit()
    second.miss()

    assert CacheCounter.counted()["test", "hit"] == 2
    assert CacheCounter.counted()["test", "miss"] == 1
