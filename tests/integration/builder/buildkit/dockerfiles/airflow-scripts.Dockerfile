# syntax=docker/dockerfile:1.4
# The scripts are in this file, so that it can be built without a context.

ARG AIRFLOW_EXTRAS="amazon,celery,postgres"
ARG AIRFLOW_HOME=/opt/airflow
ARG AIRFLOW_UID="50000"
ARG BASE_IMAGE="{base}"

FROM scratch as scripts

# The content below is generated. PLEASE DO NOT MODIFY IT HERE!
COPY <<"EOF" /install_os_dependencies.sh
#!/bin/sh
set -eu
if [ "$#" != 1 ]; then
    echo "ERROR! There should be 'runtime' or 'dev' parameter passed as argument."
    exit 1
fi
case "${1}" in
    dev) apt-get install -y --no-install-recommends ${DEV_APT_DEPS};;
    runtime) apt-get install -y --no-install-recommends libpq5;;
esac
EOF

COPY <<"EOF" /common.sh
#!/bin/sh
common() { echo "Using ${AIRFLOW_VERSION=none} \"quoted\" $(echo 1)"; }
EOF

COPY <<"EOF" /entrypoint_prod.sh
#!/bin/sh
AIRFLOW_COMMAND="${1:-}"
exec airflow "${@}"
EOF

FROM ${BASE_IMAGE} as airflow-build-image
{tools}
SHELL ["/bin/sh", "-o", "pipefail", "-o", "errexit", "-o", "nounset", "-c"]
ARG DEV_APT_DEPS=""
ENV DEV_APT_DEPS=${DEV_APT_DEPS:-"build-essential git"}
COPY --from=scripts install_os_dependencies.sh /scripts/docker/
RUN sh /scripts/docker/install_os_dependencies.sh dev && grep -q 'build-essential git' /var/log/tools

ARG AIRFLOW_EXTRAS
ARG ADDITIONAL_AIRFLOW_EXTRAS=""
ENV AIRFLOW_EXTRAS=${AIRFLOW_EXTRAS}${ADDITIONAL_AIRFLOW_EXTRAS:+,}${ADDITIONAL_AIRFLOW_EXTRAS}
COPY --from=scripts common.sh /scripts/docker/
RUN --mount=type=cache,id=pip-build,target=/tmp/.cache/,uid=50000 \
    --mount=type=bind,from=scripts,target=/scripts/bound \
    . /scripts/bound/common.sh && common > /common.txt && grep -qx 'Using none "quoted" 1' /common.txt && \
    test "${AIRFLOW_EXTRAS}" = amazon,celery,postgres

FROM ${BASE_IMAGE} as main
ARG AIRFLOW_HOME
ARG AIRFLOW_UID
LABEL org.apache.airflow.distro="debian" \
  org.apache.airflow.uid="${AIRFLOW_UID}"
ENV AIRFLOW_UID=${AIRFLOW_UID} AIRFLOW_HOME=${AIRFLOW_HOME}
RUN echo "airflow:x:${AIRFLOW_UID}:0:first last:${AIRFLOW_HOME}:/bin/sh" >> /etc/passwd && mkdir -p ${AIRFLOW_HOME}
COPY --from=airflow-build-image --chown=airflow:0 /common.txt "${AIRFLOW_HOME}/"
COPY --from=scripts --chmod=0775 entrypoint_prod.sh /entrypoint
WORKDIR ${AIRFLOW_HOME}
EXPOSE 8080
USER ${AIRFLOW_UID}
ARG BUILD_ID
LABEL org.apache.airflow.main.image.build-id="${BUILD_ID}"
ENTRYPOINT ["/usr/bin/dumb-init", "--", "/entrypoint"]
CMD []
