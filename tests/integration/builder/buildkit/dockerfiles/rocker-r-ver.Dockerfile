FROM {base}
{tools}
LABEL org.opencontainers.image.licenses="GPL-2.0-or-later" \
      org.opencontainers.image.source="https://example.org/rocker" \
      org.opencontainers.image.vendor="A Project" \
      org.opencontainers.image.authors="Somebody <somebody@example.org>"

ENV R_VERSION=4.4.1
ENV R_HOME=/usr/local/lib/R
ENV TZ=Etc/UTC

COPY scripts /rocker_scripts

RUN sh /rocker_scripts/install_R_source.sh

ENV CRAN=https://packages.example.org/cran/__linux__/jammy/latest
ENV LANG=en_US.UTF-8

RUN sh /rocker_scripts/setup_R.sh
RUN sh /rocker_scripts/install_python.sh && test -e ${R_HOME}/etc/Rprofile.site

CMD ["R"]
