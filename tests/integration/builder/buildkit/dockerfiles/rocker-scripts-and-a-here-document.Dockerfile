FROM {base}
{tools}
ENV R_VERSION="4.4.1"
ENV LANG=en_US.UTF-8
RUN <<EOF
set -e
apt-get update
R -e 'install.packages("x")'
mkdir -p /usr/local/lib/R/site-library
EOF
COPY --chmod=755 <<'EOF' /usr/local/bin/start
#!/bin/sh
exec R "$@"
EOF
SHELL ["/bin/sh", "-ec"]
RUN echo ok > /etc/rocker
CMD ["R"]
