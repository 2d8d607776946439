# syntax=docker/dockerfile:1.3

ARG GO_VERSION=1.17.0
ARG DOCKERD_VERSION=20.10.8
ARG IMAGE={base}

FROM $IMAGE AS dockerd-release
RUN mkdir -p /usr/local/bin && echo d > /usr/local/bin/dockerd

# xx is a helper for cross-compilation
FROM --platform=$BUILDPLATFORM {base} AS xx
RUN mkdir /xx && echo "$0" > /xx/info

FROM --platform=$BUILDPLATFORM $IMAGE AS golatest

FROM golatest AS gobase
{tools}
COPY --from=xx /xx /
RUN apk add --no-cache file git
ENV GOFLAGS=-mod=vendor
WORKDIR /src

FROM gobase AS buildx-version
RUN --mount=target=. \
  PKG=example.org/buildx VERSION=v0.1 REVISION=0123abc$(if ! test -e go.mod; then echo .m; fi); \
  echo "-X ${PKG}/version.Version=${VERSION} -X ${PKG}/version.Revision=${REVISION}" | tee /tmp/.ldflags; \
  echo -n "${VERSION}" | tee /tmp/.version;

FROM gobase AS buildx-build
ENV CGO_ENABLED=0
ARG TARGETPLATFORM
RUN --mount=type=bind,target=. \
  --mount=type=cache,target=/root/.cache \
  --mount=type=cache,target=/go/pkg/mod \
  --mount=type=bind,source=/tmp/.ldflags,target=/tmp/.ldflags,from=buildx-version \
  set -x; go build -ldflags "$(cat /tmp/.ldflags)" -o /usr/bin/buildx ./cmd/x && \
  mkdir -p /usr/bin && cat /tmp/.ldflags cmd/x/main.go > /usr/bin/buildx

FROM buildx-build AS test
RUN false

FROM scratch AS test-coverage
COPY --from=test /tmp/coverage.txt /coverage.txt

FROM scratch AS binaries-unix
COPY --from=buildx-build /usr/bin/buildx /

FROM binaries-unix AS binaries-darwin
FROM binaries-unix AS binaries-linux

FROM scratch AS binaries-windows
COPY --from=buildx-build /usr/bin/buildx /buildx.exe

FROM binaries-$TARGETOS AS binaries

# Release
FROM --platform=$BUILDPLATFORM {base} AS releaser
WORKDIR /work
ARG TARGETPLATFORM
RUN --mount=from=binaries \
  --mount=type=bind,source=/tmp/.version,target=/tmp/.version,from=buildx-version \
  mkdir -p /out && cp buildx* "/out/buildx-$(cat /tmp/.version).$(echo $TARGETPLATFORM | sed 's/\//-/g')$(ls buildx* | sed -e 's/^buildx//')"

FROM scratch AS release
COPY --from=releaser /out/ /

FROM $IMAGE AS shell
COPY --from=release / /release
RUN test -e /release/buildx-v0.1.linux-amd64
COPY --from=dockerd-release /usr/local/bin /usr/local/bin
WORKDIR /work
COPY --from=binaries / /usr/local/bin/
VOLUME /var/lib/docker
ENTRYPOINT ["entrypoint.sh"]
