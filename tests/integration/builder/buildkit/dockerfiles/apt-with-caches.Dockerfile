# syntax=docker/dockerfile:1
FROM {base}
{tools}
RUN mkdir -p /etc/apt/apt.conf.d && touch /etc/apt/apt.conf.d/docker-clean
RUN rm -f /etc/apt/apt.conf.d/docker-clean; echo 'Binary::apt::APT::Keep-Downloaded-Packages "true";' > /etc/apt/apt.conf.d/keep-cache
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && apt-get --no-install-recommends install -y gcc && echo deb > /var/cache/apt/pkgcache.bin
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked <<EOT sh -eu
  test -e /var/cache/apt/pkgcache.bin
  apt-get install -y make
EOT
RUN test ! -e /var/cache/apt/pkgcache.bin
RUN --mount=type=tmpfs,target=/tmp --mount=type=secret,id=netrc,target=/root/.netrc \
    pip install --no-cache-dir a && test ! -e /root/.netrc
RUN <<FILE1 cat > /hello1 && <<FILE2 cat > /hello2
one
FILE1
two
FILE2
RUN grep -qx one /hello1 && grep -qx two /hello2
COPY <<robots.txt <<humans.txt /usr/share/www/
(robots content)
robots.txt
(humans content)
humans.txt
