"""The command line of one `buildctl build`."""

import secrets
from collections.abc import Mapping, Sequence

from builder.buildkit.build_files import POLICY, BuildFiles
from builder.buildkit.daemons.daemon import CREDENTIALS
from builder.buildkit.network.push_gateway import REGISTRY
from builder.buildkit.policy import target_of
from builder.buildkit.provenance.attestation import PROVENANCE
from builder.engine import Recipe
from swell.api.containers import CompressionMode
from swell.oci.reference import Reference

TARGET = "push"
"""Below this folder is the repository that a build pushes to, in the push gateway."""
CACHE = f"cache-{secrets.token_hex(16)}"
"""As above, of its layer cache. It can be read there, so a container file must not be able to name it in an ADD."""

_FOLDERS = ("context", "dockerfile")


def arguments(
    recipe: Recipe,
    files: BuildFiles,
    target: str,
    cache: str | None,
    *,
    proxies: Mapping[str, str],
    annotations: Mapping[str, str],
    attested: bool = False,
    credentials: str = CREDENTIALS,
) -> list[str]:
    """The command line of `buildctl` for *recipe*, which is pushed as *target*.

    Steps are in the repository *cache*; secrets are files in *credentials*.

    The option `cmdline` keeps BuildKit from looking for a syntax line. Cache mounts are each build's own: with one
    shared by builds, one user could change what another's steps find there. So are the names of its local folders:
    buildkitd keeps a copy by name. It does not fetch a file again whose size and time are the same, even if it changed.
    `local-sessionid` puts what stands before its colon in front of a name, with a hyphen; no session is named there.
    BuildKit 0.34 does so each time it reads the name, which is twice for a folder, so all the names are given.
    Sources: `Identifier` and `snapshot`, https://github.com/moby/buildkit/blob/v0.34.2/source/local/source.go,
    and https://github.com/moby/buildkit/blob/v0.34.2/solver/llbsolver/policy.go
    """
    own, target_stage = secrets.token_hex(16), target_of(recipe.containerfile, recipe.options, recipe.platform)
    options = {
        **{f"local-sessionid:{name}": f"{own}:" for name in _FOLDERS},
        "platform": recipe.platform,
        "filename": "Dockerfile",
        "cmdline": "docker/dockerfile",
        "build-arg:BUILDKIT_CACHE_MOUNT_NS": secrets.token_hex(16),
        **{f"build-arg:{name}": value for name, value in (dict(proxies) | recipe.options.build_args).items()},
        **{f"label:{name}": value for name, value in recipe.options.labels.items()},
        **({"target": target_stage} if target_stage else {}),
        **({PROVENANCE: "mode=max,version=v1"} if attested else {}),
    }
    command = [
        *("build", "--progress=rawjson", "--frontend=dockerfile.v0"),
        *(["--no-cache"] if recipe.is_rebuild else []),
        *(f"--local={f'{own}-' * times}{name}={files.seen}/{name}" for name in _FOLDERS for times in (1, 2, 3)),
        f"--source-policy-file={files.seen}/{POLICY}",
        f"--metadata-file={files.seen}/result/metadata.json",
        *(f"--opt={name}={value}" for name, value in options.items()),
        f"--output={_output(recipe, files, target, annotations)}",
    ]
    command += [f"--secret=id={name},src={credentials}/{secret_file(name)}" for name in recipe.secrets]
    if cache:
        # Caches of different platforms are different tags of one repository.
        reference = f"{cache}:swell-{recipe.platform.replace('/', '-')}"
        command += [
            f"--import-cache=type=registry,ref={reference}",
            f"--export-cache=type=registry,ref={reference},mode=max,ignore-error=true,oci-mediatypes=true,"
            "image-manifest=true",
        ]
    return command


def exporting(command: Sequence[str], files: BuildFiles) -> list[str]:
    """The command that writes the image of *command* into `result/image`, an OCI layout, instead of pushing it."""
    replaced = ("--metadata-file=", "--import-cache=", "--export-cache=", f"--opt={PROVENANCE}=")
    kept = [argument for argument in command if not argument.startswith(replaced)]
    at = next(at for at, argument in enumerate(kept) if argument.startswith("--output=type=image,"))
    fields = [field for field in kept[at].split(",")[1:] if not field.startswith(("name=", "push="))]
    kept[at] = ",".join(("--output=type=oci", f"dest={files.seen}/result/image", "tar=false", *fields))
    return kept


def secret_file(name: str) -> str:
    """The file in `CREDENTIALS` of the secret with the id *name*."""
    return f"secret.{name}"


def pushed_name(target: Reference) -> str:
    """The name under which buildkitd pushes *target*."""
    return f"{REGISTRY}/{TARGET}/{target.repository}:{target.reference}"


def cache_name(cache: Reference) -> str:
    """The name under which buildkitd uses the repository *cache*."""
    return f"{REGISTRY}/{CACHE}/{cache.repository}"


def given_names(recipe: Recipe, target: Reference) -> list[tuple[bytes, bytes]]:
    """Return the names of the push gateway in the output of BuildKit, each with the one that *recipe* gives."""
    registry_of_cache = (recipe.cache_repository or "").partition("/")[0]
    return [
        (pushed_name(target).encode(), recipe.target_image.encode()),
        (f"{REGISTRY}/{CACHE}/".encode(), f"{registry_of_cache}/".encode()),
    ]


def _output(recipe: Recipe, files: BuildFiles, target: str, annotations: Mapping[str, str]) -> str:
    if recipe.sif:
        return f"type=oci,dest={files.seen}/result/image,tar=false,compression=uncompressed,force-compression=true"
    fields = ["type=image", f"name={target}", "push=true", "oci-mediatypes=true"]
    fields += [f"annotation.{name}={value}" for name, value in annotations.items()]
    if "SOURCE_DATE_EPOCH" in recipe.options.build_args:
        fields.append("rewrite-timestamp=true")
    if wanted := recipe.compression:
        fields.append(f"compression={wanted.mode or CompressionMode.GZIP}")
        if wanted.level is not None:
            fields.append(f"compression-level={wanted.level}")
        if wanted.force:
            fields.append("force-compression=true")
    return ",".join(fields)
