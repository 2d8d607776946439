"""Images that were inspected."""

from gateway.openapi.schemas.common import ACCOUNT, PLATFORM

_MEDIA_TYPE = "Media type."

_ANNOTATIONS = "Annotations, by key."

_DESCRIPTOR = {
    "mediaType": _MEDIA_TYPE,
    "digest": "Digest, `sha256:<64 hex digits>`.",
    "size": "Size in bytes.",
    "annotations": _ANNOTATIONS,
}

SCHEMAS = {
    "InspectRequest": "The image to inspect.",
    "Inspection": "The description of an image: either `container` or `index`.",
    "Referrer": "A manifest that names the image as its subject.",
    "ContainerInfo": "The image of one platform.",
    "ConfigInfo": "The image's config.",
    "HistoryEntry": "An entry of the image's history.",
    "RunInfo": "The run-time fields of the image's config.",
    "RootFsInfo": "The layers of the image, uncompressed.",
    "ManifestInfo": "The image's manifest.",
    "Content": "A descriptor: media type, digest and size of a blob.",
    "IndexInfo": "An image index.",
    "IndexEntry": "A manifest of an index.",
    "EntryPlatform": "A platform.",
}

PROPERTIES = {
    "InspectRequest": {
        "containerImage": "Name of the image, at most 2,048 characters.",
        **ACCOUNT,
        **PLATFORM,
    },
    "Inspection": {
        "container": "The image of one platform.",
        "index": "An index of several platforms.",
        "referrers": "What refers to the image, at most 100; missing if the request did not ask for it, "
        "or the registry does not list it.",
    },
    "Referrer": {
        "mediaType": "Media type of the manifest.",
        "digest": "Digest of the manifest.",
        "size": "Size of the manifest in bytes.",
        "annotations": "At most 10 annotations.",
        "artifactType": "Type of the artifact, such as `application/vnd.dev.sigstore.bundle.v0.3+json`.",
    },
    "ContainerInfo": {
        "registry": "`host[:port]` of the registry.",
        "hostName": "URL of the registry.",
        "imageName": "Repository of the image.",
        "reference": "The requested tag or digest.",
        "digest": "Digest of the manifest, also when the reference names an index.",
        "config": "The image's config.",
        "manifest": "The image's manifest.",
        "v1": "Whether the manifest is of Docker's schema 1.",
        "v2": "Whether the manifest is of Docker's schema 2.",
        "oci": "Whether the manifest is of the OCI image specification.",
    },
    "ConfigInfo": {
        "architecture": "Architecture, such as `amd64`.",
        "config": "The run-time fields.",
        "container": "Id of the container that the image was created from.",
        "created": "When the image was created, in UTC, with the digits that the image has.",
        "rootfs": "The layers of the image, uncompressed.",
        "history": "How the layers were made, at most 200 entries.",
    },
    "HistoryEntry": {
        "created_by": "The instruction.",
        "comment": "Comment of the tool.",
        "empty_layer": "Whether the instruction made no layer; otherwise it made the next layer of the manifest.",
    },
    "RunInfo": {
        "hostName": "Host name of the container.",
        "domainName": "Domain name of the container.",
        "user": "User, or `user:group`.",
        "attachStdin": "Whether the standard input is attached.",
        "attachStdout": "Whether the standard output is attached.",
        "attachStderr": "Whether the standard error output is attached.",
        "tty": "Whether the container has a terminal.",
        "env": "Environment variables, each `NAME=value`.",
        "cmd": "Command, one string per argument.",
        "image": "The image that this image was built from.",
        "workingDir": "Working directory.",
        "entrypoint": "Entrypoint, one string per argument.",
        "labels": "Labels, by name.",
    },
    "RootFsInfo": {
        "type": "Always `layers`.",
        "diff_ids": "Digests of the uncompressed layers, the lowest layer first.",
    },
    "ManifestInfo": {
        "schemaVersion": "Version of the manifest's schema.",
        "mediaType": _MEDIA_TYPE,
        "config": "Descriptor of the config.",
        "layers": "Descriptors of the layers, the lowest layer first.",
        "annotations": _ANNOTATIONS,
        "artifactType": "Type of an artifact that is not an image.",
    },
    "Content": _DESCRIPTOR,
    "IndexInfo": {
        "schemaVersion": "Version of the index's schema.",
        "mediaType": _MEDIA_TYPE,
        "manifests": "Descriptors of the manifests.",
        "digest": "Digest of the index, `sha256:<64 hex digits>`.",
    },
    "IndexEntry": {**_DESCRIPTOR, "platform": "The platform of the manifest."},
    "EntryPlatform": {
        "architecture": "Architecture, such as `arm64`.",
        "os": "Operating system, such as `linux`.",
        "variant": "Variant of the architecture, such as `v8`.",
    },
}
