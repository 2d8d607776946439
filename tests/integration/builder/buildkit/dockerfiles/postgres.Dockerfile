#
# NOTE: THIS DOCKERFILE IS GENERATED
#

FROM {base}
{tools}
# explicitly set user/group IDs
RUN set -eux; \
	mkdir -p /etc /var/lib; \
	echo 'postgres:x:999:' >> /etc/group; \
# the home directory is needed as well
# see the issue about it
	echo 'postgres:x:999:999::/var/lib/postgresql:/bin/sh' >> /etc/passwd; \
	mkdir -p /var/lib/postgresql; chown postgres:postgres /var/lib/postgresql; chmod 1777 /var/lib/postgresql

ENV GOSU_VERSION 1.17
RUN set -eux; \
	savedAptMark="$(apt-mark showmanual)"; \
	apt-get update; \
	apt-get install -y --no-install-recommends ca-certificates wget; \
	rm -rf /var/lib/apt/lists/*; \
	export GNUPGHOME="$(mktemp -d)"; \
	gpg --batch --verify /usr/local/bin/gosu.asc /usr/local/bin/gosu; \
	rm -rf "$GNUPGHOME"; \
	apt-mark auto '.*' > /dev/null; \
	[ -z "$savedAptMark" ] || apt-mark manual $savedAptMark > /dev/null

# an UTF-8 locale
RUN set -eux; \
	if [ -f /etc/dpkg/dpkg.cfg.d/docker ]; then \
# this file is only in slim images
		sed -ri '/locale/d' /etc/dpkg/dpkg.cfg.d/docker; \
	fi; \
	echo 'en_US.UTF-8 UTF-8' >> /etc/locale.gen
ENV LANG en_US.utf8

RUN mkdir /docker-entrypoint-initdb.d

ENV PG_MAJOR 14
ENV PATH $PATH:/usr/lib/postgresql/$PG_MAJOR/bin
ENV PG_VERSION 14.13-1.pgdg120+1

RUN set -ex; \
	\
	arch=amd64; \
	case "$arch" in \
		amd64 | arm64) \
# architectures with packages
			mkdir -p /usr/share/postgresql; \
			echo "#listen_addresses = 'localhost'" > /usr/share/postgresql/postgresql.conf.sample; \
			;; \
		*) \
			exit 1; \
			;; \
	esac; \
	sed -ri "s!^#?(listen_addresses)\s*=\s*\S+.*!\1 = '*'!" /usr/share/postgresql/postgresql.conf.sample; \
	grep -F "listen_addresses = '*'" /usr/share/postgresql/postgresql.conf.sample

ENV PGDATA /var/lib/postgresql/data
RUN mkdir -p "$PGDATA" && chown postgres:postgres "$PGDATA" && chmod 1777 "$PGDATA"
VOLUME /var/lib/postgresql/data

COPY docker-entrypoint.sh docker-ensure-initdb.sh /usr/local/bin/
RUN ln -sT docker-ensure-initdb.sh /usr/local/bin/docker-enforce-initdb.sh
ENTRYPOINT ["docker-entrypoint.sh"]

# fast shutdown
STOPSIGNAL SIGINT

EXPOSE 5432
CMD ["postgres"]
