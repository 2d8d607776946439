ARG REGISTRY=unused.example.org
ARG OWNER=jupyter
ARG BASE_CONTAINER={base}
FROM $BASE_CONTAINER
RUN echo 'root:x:0:0::/root:/bin/sh' > /etc/passwd

LABEL maintainer="Somebody <somebody@example.org>"

# Failures in pipes are failures.
SHELL ["/bin/sh", "-o", "pipefail", "-c"]

ENV NB_USER=jovyan NB_UID=1000 CONDA_DIR=/opt/conda HOME=/home/jovyan
USER root
{tools}
# Packages of the system
RUN apt-get update --yes && \
    apt-get install --yes --no-install-recommends \
    fonts-liberation \
    # - converts notebooks to other formats
    #   and is missing in some base images
    pandoc \
    # - restarts a server
    run-one && \
    apt-get clean && rm -rf /var/lib/apt/lists/* && \
    mkdir -p "${CONDA_DIR}" "${HOME}/.cache/yarn" /etc/jupyter && chown -R "${NB_UID}:100" "${HOME}" "${CONDA_DIR}" && \
    chmod 666 /var/log/tools

USER ${NB_UID}

WORKDIR /tmp
RUN mamba install --yes \
    'jupyterlab' \
    'notebook' && \
    mamba clean --all -f -y && \
    npm cache clean --force && \
    rm -rf "/home/${NB_USER}/.cache/yarn"

ENV JUPYTER_PORT=8888
EXPOSE $JUPYTER_PORT

CMD ["start-notebook.py"]

# Local files as late as possible
COPY start-notebook.py start-singleuser.py /usr/local/bin/
COPY jupyter_server_config.py docker_healthcheck.py /etc/jupyter/

USER root
RUN chmod -R g+w /etc/jupyter/ && test ! -e "/home/${NB_USER}/.cache/yarn"

HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD /etc/jupyter/docker_healthcheck.py || exit 1

USER ${NB_UID}

WORKDIR "${HOME}"
