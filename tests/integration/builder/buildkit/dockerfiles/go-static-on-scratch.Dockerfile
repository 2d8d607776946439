# syntax=docker/dockerfile:1
ARG GO_VERSION=1.22
FROM {base} AS build
{tools}
ARG TARGETOS TARGETARCH
WORKDIR /src
RUN --mount=type=bind,source=go.sum,target=go.sum --mount=type=bind,source=go.mod,target=go.mod go mod download -x
RUN --mount=type=bind,target=. CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -o /out/x ./cmd/x && mkdir -p /out && cp go.mod /out/x
FROM scratch
COPY --from=build /out/x /x
LABEL org.opencontainers.image.source="https://example.org/x"
ENTRYPOINT ["/x"]
