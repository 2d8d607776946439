"""Every key in Redis. Keys are part of the storage format: services of two versions share them during an upgrade."""

from hashlib import blake2b

BUILD = "swell:build"
"""Prefix of the parts of a build: `swell:build:<build id>:<part>`."""

SUBMISSION = "submission"
"""String: the JSON of the `Submission`."""
RESULT = "result"
"""String: the JSON of the `BuildResult`, once the build has ended."""
SIGNING = "signing"
"""String: the JSON of the `Signing`: the last attempt to sign the image."""
LISTING = "listing"
"""String: the JSON of the `Listing`: the last failed attempt to list the packages of the image."""
CANCELLED = "cancelled"
"""String `1`, once the build is cancelled."""
ATTEMPTS = "attempts"
"""String: how many times a builder has started the build."""
INTEREST = "wanted"
"""Hash: `+<user>` by request id; `-<user>` once the request has withdrawn."""
BEFORE = "before"
"""String: the id of the build before this one in its series."""
PARENTS = "parents"
"""Set: ids of the builds of several platforms that need this one."""
LEASE = "claim"
"""Lock of the builder that works on the build."""

COUNTERS = "swell:build-counters"
"""Hash: the highest build number by container id. New builds remove entries whose records have expired."""
INPUTS = "swell:build-inputs"
"""Prefix of hashes: the first 128 bits of the SHA-256 of the inputs by container id, as long as the image may exist."""
UNPUBLISHED = "swell:builds:unpublished"
"""Sorted set: released builds whose job is not in the queue yet; scores are times of release."""
UNFINISHED = "swell:builds:open"
"""Sorted set: released builds that have not ended; scores are times of release."""

QUEUE_ORDER = "swell:queue:order"
"""String: the ticket number that the next queued build gets."""
QUEUE_WAITING = "swell:queue:waiting"
"""Prefix of sorted sets by client: builds in the client's queue; scores are ticket numbers."""
QUEUE_RUNNING = "swell:queue:running"
"""Prefix of sorted sets by client: released builds that have not ended; scores are times of release."""
QUEUE_READY = "swell:queue:ready"
"""Sorted set: released builds that no builder has started; scores are ticket numbers."""
QUEUE_CLIENTS = "swell:queue:clients"
"""Set: clients with queued builds."""
QUEUE_FREED = "swell:queue:freed"
"""Set: clients that may have a build released, because one of theirs has ended."""
QUEUE_CLIENT_OF = "swell:queue:client-of"
"""Hash: the client by build id, until the build ends."""

SERIES = "swell:series"
"""Prefix of strings: the id of the newest build by series."""

WORKER_CAPABILITIES = "swell:machines"
"""Sorted set: what workers cannot run, as JSON; scores are expiry times."""
ENGINE_NAMES = "swell:engines"
"""Sorted set: names of the builders' engines; scores are expiry times."""

WORKERS = "swell:workers"
"""Sorted set: ids of running workers; scores are expiry times."""

REGISTRIES = "swell:registries"
"""Sorted set: registries that have answered; scores are the times of the last answers."""

UNPUBLISHED_PULLS = "swell:unpublished-pulls"
"""Sorted set: events of pulls, as JSON, that are not confirmed by the message queue; scores are times."""

USAGE = "swell:usage"
"""Prefix of usage counters: `swell:usage:<metric>:<day>:<architecture>`."""

USAGE_RESTORED = "swell:usage-restored"
"""String `1`: the usage counters contain what was counted before Redis lost its data."""

LEASED_RUNS = "swell:leased-runs"
"""Sorted set: tokens that live while a run of a Seqera Platform does; scores are the times of the next lookups."""

ENCRYPTED = "swell:encrypted:"
"""Prefix of strings: encrypted secrets, by name."""

ACCOUNTS = "swell:accounts"
"""Sorted set: the names of all accounts; scores are 0."""
API_KEYS = "swell:api-keys"
"""Sorted set: all issued API keys as `<time of creation>:<key id>`, in the order of their text."""

AUDIT_PSEUDONYMS = "swell:audit-pseudonyms"
"""Hash: the pseudonym in the audit trail by name of a user."""
AUDIT_NAMES = "swell:audit-names"
"""Hash: the name by pseudonym."""
AUDIT_HEAD = "swell:audit-head"
"""String: the hash of the last batch of the audit trail."""

LUA = f"""
local COUNTERS, UNPUBLISHED, UNFINISHED = '{COUNTERS}', '{UNPUBLISHED}', '{UNFINISHED}'
local INPUTS = '{INPUTS}'
local ORDER, READY, CLIENTS = '{QUEUE_ORDER}', '{QUEUE_READY}', '{QUEUE_CLIENTS}'
local FREED, CLIENT_OF = '{QUEUE_FREED}', '{QUEUE_CLIENT_OF}'
local SUBMISSION, RESULT, CANCELLED = '{SUBMISSION}', '{RESULT}', '{CANCELLED}'
local ATTEMPTS, INTEREST, PARENTS = '{ATTEMPTS}', '{INTEREST}', '{PARENTS}'
local BEFORE, SERIES = '{BEFORE}', '{SERIES}'
local function build_key(id, part) return '{BUILD}:' .. id .. ':' .. part end
local function waiting_key(client) return '{QUEUE_WAITING}:' .. client end
local function running_key(client) return '{QUEUE_RUNNING}:' .. client end
"""
"""The same keys for Lua scripts, which begin with this text."""

SCAN = "swell:scan"
"""Prefix of the parts of a scan: `swell:scan:<scan id>:submission` and `:result`, JSON."""
SCAN_COUNTERS = "swell:scan-counters"
"""Hash: the highest scan number by fingerprint. New scans remove entries whose records have expired."""
SCANS_UNFINISHED = "swell:scans:open"
"""Sorted set: scans without a result; scores are times of submission."""
SCANS_MATCHED = "swell:scans:matched"
"""Sorted set: scans that succeeded; scores are the times of the databases that they were matched with."""
SCANS_AFFECTED = "swell:scans:affected"
"""List: images that became affected by a new database, as JSON, newest first."""
SCANNER_NAMES = "swell:scanners"
"""Sorted set: names of the scanners' programs; scores are expiry times."""

SCAN_LUA = f"""
local COUNTERS, UNFINISHED, MATCHED = '{SCAN_COUNTERS}', '{SCANS_UNFINISHED}', '{SCANS_MATCHED}'
local SUBMISSION, RESULT = '{SUBMISSION}', '{RESULT}'
local function scan_key(id, part) return '{SCAN}:' .. id .. ':' .. part end
"""
"""The keys of scans for Lua scripts, which begin with this text."""


def series(name: str) -> str:
    """Return the key of the id of the newest build of a series."""
    return f"{SERIES}:{name}"


def build(build_id: str, part: str) -> str:
    """Return the key of one part of a build."""
    return f"{BUILD}:{build_id}:{part}"


def build_inputs(container_id: str) -> tuple[str, str]:
    """Return the key of the hash, one of 65,536 small ones, and the field."""
    return f"{INPUTS}:{container_id[:4]}", container_id[4:]


def latest_build(target_image: str) -> str:
    """String: the id of the newest build of *target_image*."""
    return f"swell:build-of:{target_image}"


def builds_of(user: str) -> str:
    """Sorted set: ids of the builds that *user*, whose name is hashed, has requested; scores are times in us."""
    return f"swell:builds-of:{blake2b(user.encode(), digest_size=16, person=b'swell builds').hexdigest()}"


def build_start(target_image: str) -> str:
    """Lock of the gateway that starts a build of *target_image*."""
    return f"swell:starting:{target_image}"


def leases(token: str) -> str:
    """Hash: `until:<name>`, the ends of the leases of *token*; `base`, its own end; `workspace`, whose run holds it."""
    return f"swell:leases:{token}"


def platform_lock(name: str) -> str:
    """Lock of the gateway that renews a pairing or a session at a Seqera Platform."""
    return f"swell:platform-lock:{name}"


def grant(token: str) -> str:
    """String: the JSON of the grant of *token*."""
    return f"swell:grant:{token}"


def request(token: str) -> str:
    """String: the JSON of the container request of *token*."""
    return f"swell:request:{token}"


def limit(kind: str, client: str) -> str:
    """String: the time at which the bucket of *client* is full again, in microseconds since 1970."""
    return f"swell:limit:{kind}:{client}"


def worker(worker_id: str) -> str:
    """String: the JSON of a running worker."""
    return f"swell:worker:{worker_id}"


def drained_worker(worker_id: str) -> str:
    """String `1`: the operator has drained the worker."""
    return f"swell:drained-worker:{worker_id}"


def garbage(kind: str) -> str:
    """Sorted set: names of what was found unused; scores are the times when it was first found."""
    return f"swell:garbage:{kind}"


def image(token: str) -> str:
    """Hash: the documents of the image that *token* opens."""
    return f"swell:image:{token}"


def config(digest: str) -> str:
    """String: a cached image config."""
    return f"swell:config:{digest}"


def large_config(digest: str) -> str:
    """String: a reference to an image config in the object store."""
    return f"swell:large-config:{digest}"


def access(scope: str) -> str:
    """String: a cached proof that credentials can read a repository."""
    return f"swell:access:{scope}"


def blob_lease(scope: str) -> str:
    """Lock of the process that stores a blob."""
    return f"swell:blob:{scope}"


def augmentation_lease(name: str) -> str:
    """Lock of the process that augments an image."""
    return f"swell:turn:{name}"


def api_key(key_id: str) -> str:
    """String: the JSON of an issued API key, until it expires."""
    return f"swell:api-key:{key_id}"


def api_keys_of(user: str) -> str:
    """Sorted set: the API keys of *user*, as in `API_KEYS`."""
    return f"{API_KEYS}:of:{user}"


def readers(record_id: str) -> str:
    """Set: who has requested a build, mirror, scan or image, if reading is limited to them; names are hashed."""
    return f"swell:readers:{record_id}"


def followers(record_id: str) -> str:
    """Hash: by user, who gets a notice when a build, mirror or scan ends, and how."""
    return f"swell:followers:{record_id}"


def webhooks(owner: str) -> str:
    """Hash: by name, the JSON of a webhook of a user or an organisation; its secret is an encrypted record."""
    return f"swell:webhooks:{owner}"


def account(name: str) -> str:
    """String: the JSON of an account."""
    return f"swell:account:{name}"


def email_preference(user: str) -> str:
    """String: when *user* wants e-mail, in the words of Seqera Platform."""
    return f"swell:email-preference:{user}"


def ending(user: str) -> str:
    """String `1`, for some seconds: the keys of *user* are being revoked, so no key is added."""
    return f"swell:ending:{user}"


def session(session_id: str) -> str:
    """String: the JSON of a browser's session."""
    return f"swell:session:{session_id}"


def sessions_of(user: str) -> str:
    """Sorted set: ids of the sessions of *user*; scores are the times when they started."""
    return f"swell:sessions-of:{user}"


def sign_in(state_id: str) -> str:
    """String `1`: this sign-in was completed."""
    return f"swell:sign-in:{state_id}"


def vault(owner: str) -> str:
    """String: the JSON of what is known of the credentials of *owner*; their secrets are encrypted records."""
    return f"swell:vault:{owner}"


def build_secret(name: str) -> str:
    """String: the JSON that says which stored credential the build secret *name* is."""
    return f"swell:build-secret:{name}"


def encrypted(name: str) -> str:
    """String: an encrypted secret."""
    return f"{ENCRYPTED}{name}"


def usage(metric: str, day: str, architecture: str) -> str:
    """Hash: counts by organisation; the empty name is the total."""
    return f"{USAGE}:{metric}:{day}:{architecture}"


def counted(event_id: str) -> str:
    """Empty string: the event is counted."""
    return f"swell:counted:{event_id}"


def scan(scan_id: str, part: str) -> str:
    """Return the key of one part of a scan."""
    return f"{SCAN}:{scan_id}:{part}"


def scan_of(key: str) -> str:
    """String: the id of the scan of an image or of a build."""
    return f"swell:scan-of:{key}"


def scans_of_client(client: str) -> str:
    """Set: ids of scans that *client* has started; those that have ended are removed when it starts too many."""
    return f"swell:scans:of:{client}"


def scans_of_build(build_id: str) -> str:
    """Set: ids of the scans that wait for a build."""
    return build(build_id, "scans")


def scan_lease(scan_id: str) -> str:
    """Lock of the scanner that works on a scan."""
    return scan(scan_id, "lease")
