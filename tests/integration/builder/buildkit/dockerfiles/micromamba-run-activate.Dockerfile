FROM {base} AS micromamba
{tools}
ARG MAMBA_USER=mambauser
ARG MAMBA_USER_ID=57439
ENV MAMBA_USER=$MAMBA_USER
ENV MAMBA_ROOT_PREFIX="/opt/conda"
RUN echo "${MAMBA_USER}:x:${MAMBA_USER_ID}:${MAMBA_USER_ID}::/home/${MAMBA_USER}:/bin/sh" >> "/etc/passwd" && \
    echo "${MAMBA_USER}:x:${MAMBA_USER_ID}:" >> "/etc/group" && \
    mkdir -p "$MAMBA_ROOT_PREFIX" "/home/${MAMBA_USER}" && \
    chown "$MAMBA_USER:$MAMBA_USER" "$MAMBA_ROOT_PREFIX" "/home/${MAMBA_USER}" && touch /var/log/tools && chmod 666 /var/log/tools
COPY --chmod=755 _dockerfile_shell.sh /usr/local/bin/_dockerfile_shell.sh
USER $MAMBA_USER
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/_entrypoint.sh"]
CMD ["/bin/sh"]
SHELL ["/usr/local/bin/_dockerfile_shell.sh"]

FROM micromamba
COPY --chown=$MAMBA_USER:$MAMBA_USER env.yaml /tmp/env.yaml
RUN micromamba install --yes --file /tmp/env.yaml && \
    micromamba clean --all --yes
ARG MAMBA_DOCKERFILE_ACTIVATE=1  # (otherwise python will not be found)
RUN test "$ACTIVATED" = 1 && [ $(stat -c %u /tmp/env.yaml) = 57439 ] > /opt/conda/my_uuid
