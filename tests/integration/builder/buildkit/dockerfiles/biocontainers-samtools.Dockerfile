################## BASE IMAGE ######################
FROM {base}

################## METADATA ######################
ARG software_version=1.20
LABEL software="samtools"
LABEL software.version="$software_version"
LABEL about.summary="Tools for manipulating next-generation sequencing data"
LABEL about.license_file="first"
LABEL about.license_file="the last one counts"
LABEL about.license="SPDX:MIT"
LABEL extra.identifiers.biotools="SAM"

################## MAINTAINER ######################
MAINTAINER Somebody <somebody@example.org>
{tools}
ENV PATH="/root/miniconda3/bin:${PATH}"
ARG PATH="/root/miniconda3/bin:${PATH}"
RUN apt-get update
RUN apt-get install -y wget && rm -rf /var/lib/apt/lists/*
RUN echo "$PATH" | grep -q ^/root/miniconda3/bin: \
    && mkdir /root/.conda \
    && mkdir -p /root/miniconda3/bin
RUN conda config --add channels bioconda
RUN conda install ncurses samtools=$software_version
WORKDIR /data/
