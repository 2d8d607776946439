"""What operators see and change."""

from gateway.openapi.schemas.common import INSTANT, QUEUE

_NEXT = "`cursor` of the next page; missing on the last one."
_DISK = {
    "name": "Name of the folder, such as `workspace` or `spool`.",
    "total": "Size of its disk in bytes.",
    "free": "Free bytes of its disk.",
}
_CACHE = {
    "name": "Name of the cache.",
    "used": "Bytes that it uses.",
    "limit": "The most bytes that it uses.",
}

SCHEMAS = {
    "DiskUse": "The disk of a folder of a worker.",
    "CacheUse": "A cache on the disk of a worker.",
    "WorkerCache": "A cache on the disk of a worker.",
    "Worker": "A process that takes jobs or stores files.",
    "WorkerPage": "Workers, by id.",
    "QueueClient": "The queue of a client.",
    "QueuePage": "The builds and mirrors that have not ended, and the queues of clients, by name.",
    "QueuedBuild": "A build or mirror that has not ended.",
    "QueuedBuildPage": "Builds and mirrors that have not ended.",
    "DeadLetterRecord": "A job or event that no worker could handle. Its content is not shown.",
    "DeadLetterPage": "Dead letters, oldest first.",
    "RevocationRequest": "Which tokens to revoke: those for which all members are true. One of `user`, `organisation`, "
    "`image` and `buildId` is required.",
    "RevocationAnswer": "The result of a revocation.",
    "SeenRegistry": "A registry that has answered.",
    "SeenRegistryPage": "Registries, by name.",
    "StateUse": "The memory of Redis.",
    "StreamUse": "A stream of NATS.",
    "ObjectsUse": "Objects of a bucket below a prefix.",
    "WorkerDisk": "The disk of a folder of a worker.",
    "StorageUse": "What is stored in the backends and by the workers.",
}

PROPERTIES = {
    "DiskUse": _DISK,
    "CacheUse": _CACHE,
    "WorkerCache": {"worker": "`id` of the worker.", **_CACHE},
    "Worker": {
        "id": "Host name and port of the worker; the same after a restart.",
        "service": "`builder`, `registry-proxy` or `scanner`.",
        "version": "Version of Swell.",
        "started": f"When the process started, {INSTANT}.",
        "engine": "Names and versions of the programs that it runs.",
        "platforms": "Platforms whose build steps it runs.",
        "missing": "What it lacks to run build steps, by architecture.",
        "slots": "How many jobs it runs at once.",
        "running": "How many jobs it runs.",
        "drained": "Whether an operator has drained it.",
        "paused": "Whether it takes no jobs, because it is drained. It can be stopped when `running` is missing.",
        "problem": "Why it cannot work; missing if it can.",
        "disks": "The disks of its folders.",
        "caches": "Its caches.",
    },
    "WorkerPage": {"workers": "The workers.", "next": _NEXT},
    "QueueClient": {
        "client": "Hash of the user, or of the address of an anonymous client.",
        "waiting": "How many of its builds and mirrors wait for a free slot of the client.",
        "running": "How many of them were released and have not ended.",
        "oldest": f"When the oldest of them was requested, {INSTANT}.",
        "organisation": "Organisation of the oldest of them.",
    },
    "QueuePage": {
        "waiting": "How many builds wait in the queues of their clients; counted for at most 1,000 clients.",
        "ready": "How many builds were released, and no builder has started them.",
        "running": "How many builds run.",
        "unpublished": "How many released builds have no job in the message queue yet.",
        "oldestWaiting": "Age of the oldest waiting build in seconds.",
        "oldestReady": "Seconds since the release of the oldest build that no builder has started.",
        "isComplete": "False if there are more than 100,000 builds, so that clients may be missing.",
        "clients": "The queues.",
        "next": _NEXT,
    },
    "QueuedBuild": {
        "id": "Id of the build or mirror.",
        "state": "`waiting` for a free slot of its client, `ready` for a builder, or `running`.",
        "client": "Hash of the user, or of the address of an anonymous client.",
        "position": QUEUE,
        "targetImage": "Name of the image that it makes.",
        "platform": "Its platforms, separated by commas.",
        "organisation": "Organisation of the user that requested it first.",
        "users": "At most 10 users whose requests need it; anonymous clients have no name.",
        "attempts": "How often a builder has started it.",
        "submitted": f"When it was requested, {INSTANT}.",
        "released": f"When it was released from the queue of its client, {INSTANT}.",
    },
    "QueuedBuildPage": {"builds": "The builds.", "next": _NEXT},
    "DeadLetterRecord": {
        "number": "Number of the dead letter.",
        "subject": "Kind of the job or event, such as `jobs.build.bd-…_1`.",
        "reason": "Why it was given up.",
        "jobId": "Id of its build, mirror, scan or event.",
        "stored": f"When it was given up, {INSTANT}.",
        "size": "Size of its content in bytes.",
    },
    "DeadLetterPage": {"deadLetters": "The dead letters.", "next": _NEXT},
    "RevocationRequest": {
        "user": "Name of the user that requested the tokens.",
        "organisation": "Organisation of the user.",
        "image": "The image that the tokens open, with a tag or a digest; or `registry` or `registry/path` for all "
        "images below.",
        "buildId": "Id of the build that the tokens wait for.",
        "dryRun": "Whether the tokens are only counted.",
        "cursor": "`next` of the previous response.",
    },
    "RevocationAnswer": {
        "examined": "How many tokens were examined.",
        "revoked": "How many tokens were revoked, or would be.",
        "next": "`cursor` of the next request; missing when all tokens were examined.",
    },
    "SeenRegistry": {
        "registry": "`host[:port]` of the registry.",
        "lastUsed": f"When it last answered, {INSTANT}.",
    },
    "SeenRegistryPage": {"registries": "The registries.", "next": _NEXT},
    "StateUse": {
        "used": "Used memory in bytes.",
        "limit": "Limit of the memory in bytes; 0 without one.",
        "keys": "Number of records.",
    },
    "StreamUse": {
        "name": "Name of the stream.",
        "messages": "Number of its messages.",
        "bytes": "Their size in bytes.",
    },
    "ObjectsUse": {
        "bucket": "Name of the bucket.",
        "prefix": "Beginning of the keys of the objects.",
        "objects": "Number of objects.",
        "bytes": "Their size in bytes.",
        "isComplete": "False if there are more objects than were counted.",
    },
    "WorkerDisk": {"worker": "`id` of the worker.", **_DISK},
    "StorageUse": {
        "state": "Memory of Redis.",
        "streams": "Streams of NATS.",
        "objects": "Objects in S3.",
        "disks": "Disks of workers.",
        "caches": "Caches of workers.",
    },
}
