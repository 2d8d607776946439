ARG ROOT_IMAGE={base}
FROM $ROOT_IMAGE
RUN echo 'root:x:0:0::/root:/bin/sh' > /etc/passwd
ARG NB_USER="jovyan"
ARG NB_UID="1000"
ARG NB_GID="100"
USER root
{tools}
ENV CONDA_DIR=/opt/conda SHELL=/bin/sh NB_USER="${NB_USER}" NB_UID=${NB_UID} NB_GID=${NB_GID}
ENV PATH="${CONDA_DIR}/bin:${PATH}" HOME="/home/${NB_USER}"
COPY --chmod=0755 app/main.py /usr/local/bin/fix-permissions
RUN echo "${NB_USER}:x:${NB_UID}:${NB_GID}::${HOME}:/bin/sh" >> /etc/passwd && mkdir -p "${CONDA_DIR}" "${HOME}" && chown "${NB_UID}:${NB_GID}" "${CONDA_DIR}" "${HOME}"
USER ${NB_UID}
WORKDIR "${HOME}"
EXPOSE 8888
HEALTHCHECK --interval=3s --timeout=1s --start-period=3s --retries=3 CMD /etc/jupyter/docker_healthcheck.py || exit 1
