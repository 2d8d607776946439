ARG SAMTOOLS_VER="1.20"

FROM {base} as builder

ARG SAMTOOLS_VER
{tools}
# for compiling
RUN apt-get update && apt-get install --no-install-recommends -y \
    libncurses5-dev \
    gcc \
    bzip2 \
    ca-certificates

RUN mkdir -p samtools-${SAMTOOLS_VER} && \
    cd samtools-${SAMTOOLS_VER} && \
    make && \
    make install && \
    printf '#!/bin/sh\necho %s\n' "${SAMTOOLS_VER}" > /usr/local/bin/samtools && chmod 755 /usr/local/bin/samtools

### start of app stage ###
FROM {base} as app

ARG SAMTOOLS_VER

LABEL base.image="debian"
LABEL dockerfile.version="1"
LABEL software.version="${SAMTOOLS_VER}"
LABEL maintainer2="Somebody else"
LABEL maintainer2.email="else@example.org"

ARG DEBIAN_FRONTEND=noninteractive

COPY --from=builder /usr/local/bin/* /usr/local/bin/

ENV LC_ALL=C

WORKDIR /data

CMD ["samtools", "--help"]

### start of test stage ###
FROM app as test

ARG SAMTOOLS_VER

RUN samtools --help

WORKDIR /test

RUN samtools stats > stats.txt && \
    grep -qx "$SAMTOOLS_VER" stats.txt && \
    ls
