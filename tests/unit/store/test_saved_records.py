"""The current code reads the records, messages and objects that commit aa47f99 stored; see tests/fixtures/README.md."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord
from swell.jobs.dead_letters import REASON, SUBJECT
from swell.jobs.messages import BuildDone, BuildJob, ImagesPulled, IndexJob, InspectJob, TokenRevoked
from swell.oci.digest import digest_of
from swell.store.logs import ATTEMPT, COMPLETE, FIRST_LINE, log_key, log_subject
from swell.store.records import BuildResult, Reason, Submission
from tests.fixtures import saved
from tests.stores import LOGS

DIGEST = "sha256:49cbf33b319422899f90887f17506219b4558c227645fa7cb2acd26e45ca2f35"
KINDS: dict[Any, list[bytes]] = {
    BuildJob: saved.data_of("jobs.build."),
    IndexJob: saved.data_of("jobs.index."),
    InspectJob: saved.data_of("jobs.inspect."),
    BuildDone: saved.data_of("events.build.done"),
    TokenRevoked: saved.data_of("events.token.revoked"),
    ImagesPulled: saved.data_of("events.image.pulled"),
    Submission: list(saved.strings("swell:build:", ":submission").values()),
    BuildResult: list(saved.strings("swell:build:", ":result").values()),
    Grant: list(saved.strings("swell:grant:").values()),
    ContainerRecord: list(saved.strings("swell:request:").values()),
}


def build_id(label: str) -> str:
    return str(saved.answers()[label]["buildId"])


def submission(label: str) -> Submission:
    record = saved.strings(f"swell:build:{build_id(label)}:submission")
    return msgspec.json.decode(next(iter(record.values())), type=Submission)


def result(label: str) -> BuildResult:
    record = saved.strings(f"swell:build:{build_id(label)}:result")
    return msgspec.json.decode(next(iter(record.values())), type=BuildResult)


def grant(label: str) -> Grant:
    record = saved.strings(f"swell:grant:{saved.answers()[label]['requestId']}")
    return msgspec.json.decode(next(iter(record.values())), type=Grant)


def is_part_of(old: Any, new: Any) -> bool:
    """Whether *new* has each field of *old* with the same value; new fields are allowed."""
    if isinstance(old, Mapping):
        return all(name in new and is_part_of(content, new[name]) for name, content in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(is_part_of, old, new))
    return bool(old == new)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_read_is_written_with_the_same_fields(kind: Any) -> None:
    """During an upgrade the old code reads what the new code writes: no field may be missing or changed."""
    assert KINDS[kind]
    for raw in KINDS[kind]:
        written = msgspec.json.encode(msgspec.json.decode(raw, type=kind))
        assert is_part_of(msgspec.json.decode(raw), msgspec.json.decode(written))


def test_a_submission_has_all_of_the_request() -> None:
    """A build with a context, by a caller with an API key."""
    found = submission("build-with-context")

    assert found.containerfile.endswith("/busybox:docker\nCOPY greeting.txt /opt/\nRUN cat /opt/greeting.txt\n")
    assert (found.container_id, found.platform, found.organisation) == ("1c2f7b6a88b36727", "linux/amd64", "acme")
    assert found.target_image == "localhost:10349/swell/build:1c2f7b6a88b36727"
    assert found.context == "sha256:96ce4667ec8f78db266f3813b9a1ed4311cc19958a5f97e16352d6541c10682b"
    assert found.client == "d1f7a14a92f5eb385570"
    assert found.created.tzinfo is UTC and found.created.date() == datetime(2026, 11, 29, tzinfo=UTC).date()
    assert (found.sif, found.children, found.packages, found.layers) == (False, (), None, ())


def test_a_submission_of_several_platforms_names_its_children() -> None:
    """The index waits for the builds of its children."""
    found = submission("platforms")

    assert found.platform == "linux/amd64,linux/arm64"
    assert [child.platform for child in found.children] == ["linux/amd64", "linux/arm64"]
    assert [child.build_id for child in found.children] == ["bd-97a7918e3a77fe42_1", "bd-190c389b03d14d1f_1"]
    assert [child.target_image.rpartition(":")[2] for child in found.children] == [
        "97a7918e3a77fe42",
        "190c389b03d14d1f",
    ]


def test_a_submission_of_a_sif_file_has_the_definition_as_it_was_sent() -> None:
    """Its image name begins with oras://."""
    found = submission("sif")

    assert found.sif and found.target_image.startswith("oras://")
    assert found.containerfile.startswith("Bootstrap: docker\nFrom: localhost:10317/library/busybox:docker\n")
    assert '%runscript\n    echo "$GREETING, $1"' in found.containerfile


def test_a_submission_of_packages_has_each_package_with_its_digest() -> None:
    """conda/direct solves before the build is stored."""
    found = submission("conda-direct")

    assert found.packages and found.template == "conda/direct:v1"
    raw = next(iter(saved.strings(f"swell:build:{build_id('conda-direct')}:submission").values()))
    assert is_part_of(msgspec.json.decode(raw)["packages"], msgspec.to_builtins(found.packages))
    assert found.target_image == "localhost:10349/swell/build:tool_greeter--9707db28528cbf89"


def test_a_submission_of_a_freeze_has_the_layers_that_came_with_it() -> None:
    """The layer's object has the digest of the request."""
    found = submission("freeze")

    (layer,) = found.layers
    assert digest_of(saved.objects()["swell-layers", layer.replace(":", "/")]) == layer
    assert 'ENV FROZEN="yes"' in found.containerfile


def test_the_result_of_a_build_that_succeeded_has_a_digest() -> None:
    """The digest is that of the manifest which was pushed."""
    found = result("build-with-context")

    assert (found.succeeded, found.exit_status, found.attempt, found.reason) == (True, 0, 1, None)
    assert found.digest == DIGEST
    assert timedelta(seconds=1) < found.duration < timedelta(seconds=10)


def test_the_result_of_a_build_that_failed_has_a_reason() -> None:
    """The message names the exit status of the step."""
    found = result("failing-build")

    assert (found.succeeded, found.exit_status, found.digest) == (False, 7, None)
    assert found.reason is Reason.RECIPE and found.message


def test_the_result_of_a_build_that_was_cancelled_in_the_queue_has_no_attempt() -> None:
    """No builder had started it."""
    found = result("cancelled")

    assert (found.succeeded, found.exit_status, found.reason, found.attempt) == (False, -1, Reason.CANCELLED, 0)


def test_a_grant_has_the_config_without_the_data_of_its_layers() -> None:
    """The data is in the store under its digest."""
    found = grant("augment")

    assert (found.image, found.platform) == ("localhost:10317/library/busybox:docker", "linux/amd64")
    assert found.expires - found.created == timedelta(hours=36)
    config = found.container_config
    assert config and config.layers
    assert (config.cmd, config.env, config.working_dir) == (
        ("/bin/sh", "-c", "cat /linked.txt"),
        ("ADDED=yes",),
        "/opt",
    )
    assert [layer.location for layer in config.layers] == ["", "http://localhost:37133/linked"]
    assert [layer.gzip_size for layer in config.layers] == [162, 151]
    assert (found.build_id, found.user, found.is_durable, found.is_dry) == (None, "", False, False)


def test_a_grant_of_a_build_belongs_to_its_caller() -> None:
    """Pulls count against the caller's limit."""
    found = grant("build-with-context")

    assert (found.build_id, found.user, found.organisation) == ("bd-1c2f7b6a88b36727_1", "ada", "acme")
    assert not found.is_durable
    assert grant("freeze").is_durable and grant("dry-run").is_dry


def test_a_record_describes_the_request() -> None:
    """GET /container-token shows it for ninety days."""
    token = saved.answers()["augment"]["containerToken"]
    found = msgspec.json.decode(saved.strings(f"swell:request:{token}")[f"swell:request:{token}"], type=ContainerRecord)

    assert (found.platform, found.mirror, found.zone_id) == ("linux/amd64", False, "Z")
    assert found.wave_image == saved.answers()["augment"]["targetImage"]
    assert found.container_config and found.container_config.layers
    assert found.container_config.layers[0].location == "data:DATA+OMITTED"


def test_jobs_that_wait_are_read() -> None:
    """A builder of the new version takes jobs that a gateway of the old one has published."""
    jobs = {job.id: job for raw in saved.data_of("jobs.build.") for job in [msgspec.json.decode(raw, type=BuildJob)]}
    first = jobs[build_id("waiting-0")]
    assert first.containerfile == "FROM localhost:10317/library/busybox:docker\nRUN echo waiting 0\n"
    assert (first.target_image, first.platform, first.organisation) == (
        "localhost:10349/swell/build:498a738bbf6da354",
        "linux/amd64",
        "acme",
    )
    assert first.address == "jobs.build.bd-498a738bbf6da354_1"
    assert (first.context, first.sif, first.packages, first.layers) == (None, None, None, ())

    (index,) = [msgspec.json.decode(raw, type=IndexJob) for raw in saved.data_of("jobs.index.")]
    assert (index.id, index.platform) == (build_id("waiting-platforms"), "linux/amd64,linux/arm64")

    (inspect,) = [msgspec.json.decode(raw, type=InspectJob) for raw in saved.data_of("jobs.inspect.")]
    assert (inspect.image, inspect.platform) == ("localhost:10317/library/busybox:oci", None)
    assert inspect.reply.startswith("_INBOX.") and inspect.deadline.year == 2026


def test_events_are_read() -> None:
    """The metrics service reads events of the last seven days."""
    done = {e.id: e for raw in saved.data_of("events.build.done") for e in [msgspec.json.decode(raw, type=BuildDone)]}
    assert done[build_id("build-with-context")].succeeded and done[build_id("build-with-context")].begun
    assert done[build_id("build-with-context")].organisation == "acme"
    assert not done[build_id("failing-build")].succeeded
    assert not done[build_id("cancelled")].begun
    assert done[build_id("platforms")].platform == "linux/amd64,linux/arm64"

    pulled = [msgspec.json.decode(raw, type=ImagesPulled) for raw in saved.data_of("events.image.pulled")]
    assert [(e.day, e.count, e.architecture, e.organisation, e.fusion) for e in pulled] == [
        ("2026-11-29", 1, "amd64", "acme", False),
        ("2026-11-29", 3, "amd64", "", False),
        ("2026-11-29", 1, "amd64", "acme", False),
    ]

    (revoked,) = [msgspec.json.decode(raw, type=TokenRevoked) for raw in saved.data_of("events.token.revoked")]
    assert revoked.id == saved.answers()["revoked"]["containerToken"]


def test_the_headers_of_logs_and_dead_letters_are_those_that_are_read() -> None:
    """A log that an old builder began is followed by a new gateway."""
    lines = [each for each in saved.messages() if each.subject == log_subject(build_id("failing-build"))]
    assert {each.headers[ATTEMPT] for each in lines} == {"1"}
    assert COMPLETE in lines[-1].headers and not lines[-1].data
    firsts = [int(each.headers[FIRST_LINE]) for each in lines[:-1]]
    counts = [each.data.count(b"\n") for each in lines[:-1]]
    assert firsts == [1 + sum(counts[:at]) for at in range(len(counts))]
    assert b"before\n" in b"".join(each.data for each in lines)

    (dead,) = [each for each in saved.messages() if each.stream == "DEAD"]
    assert dead.headers[SUBJECT] == "jobs.build.bd-0000000000000000_1"
    assert "Expected `str`" in dead.headers[REASON]
    assert dead.data == b'{"id": 7}'


def test_the_log_of_a_build_is_one_object() -> None:
    """It holds the lines of the stream."""
    log = saved.objects()[LOGS, log_key(build_id("failing-build"))]
    lines = b"".join(each.data for each in saved.messages() if each.subject == log_subject(build_id("failing-build")))

    assert log == lines
