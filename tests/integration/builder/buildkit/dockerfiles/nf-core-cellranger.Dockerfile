# Push to team/cellranger:<VER>

FROM {base}
LABEL authors="Somebody <somebody@example.org>" \
    description="Image with a tool that must be downloaded by hand"
# Disclaimer: not supported by anybody.
{tools}
RUN apt-get update --allow-releaseinfo-change \
    && apt-get install -y \
    cpio \
    procps \
    && apt-get clean -y && rm -rf /var/lib/apt/lists/*

ENV CELLRANGER_VER=7.2.0
COPY cellranger-$CELLRANGER_VER.tar.gz /opt/cellranger-$CELLRANGER_VER.tar.gz

RUN \
    mkdir -p /opt/cellranger-$CELLRANGER_VER && cd /opt/cellranger-$CELLRANGER_VER && \
    tar -xzvf ../cellranger-$CELLRANGER_VER.tar.gz && \
    export PATH=/opt/cellranger-$CELLRANGER_VER:$PATH && \
    ln -s /opt/cellranger-$CELLRANGER_VER/t /bin/cellranger && \
    rm -rf /opt/cellranger-$CELLRANGER_VER.tar.gz && \
    grep -q T /bin/cellranger
