FROM {base}
{tools}
# ensure local python is preferred over distribution python
ENV PATH /usr/local/bin:$PATH
ENV LANG C.UTF-8

ENV PYTHON_VERSION 3.12.10rc1
ENV PYTHON_SHA256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

RUN set -eux; \
	\
	savedAptMark="$(apt-mark showmanual)"; \
	: > python.tar.xz; \
	test "${PYTHON_VERSION%%[a-z]*}" = 3.12.10; \
	echo "$PYTHON_SHA256 *python.tar.xz" | sha256sum -c -; \
	rm python.tar.xz; \
	mkdir -p /usr/src/python /usr/local/lib/python3/test /usr/local/lib/python3/idle; \
	cd /usr/src/python; \
	gnuArch=x86_64-linux-gnu; \
	configure="$(test "${gnuArch%%-*}" != 'riscv64' && echo '--with-lto')"; \
	test "$configure" = --with-lto; \
	LDFLAGS=; LDFLAGS="${LDFLAGS:--Wl},--strip-all"; \
	test "$LDFLAGS" = -Wl,--strip-all; \
	make -j 2 \
		"LDFLAGS=${LDFLAGS:--Wl},-rpath='\$\$ORIGIN/../lib'" \
	; \
# a comment in the middle of a command
	cd /; \
	rm -rf /usr/src/python; \
	for name in idle3 pip3 pydoc3 python3; do echo "#!/bin/sh" > /usr/local/bin/$name; done; \
	touch /usr/local/lib/python3/a.pyc /usr/local/lib/python3/a.py; \
	\
	find /usr/local -depth \
		\( \
			\( -type d -a \( -name test -o -name tests \) \) \
			-o \( -type f -a \( -name '*.pyc' -o -name 'libpython*.a' \) \) \
		\) -exec rm -rf '{}' + \
	; \
	test ! -e /usr/local/lib/python3/a.pyc; test -e /usr/local/lib/python3/a.py; test ! -e /usr/local/lib/python3/test

RUN set -eux; \
	for src in idle3 pip3 pydoc3 python3; do \
		dst="$(echo "$src" | tr -d 3)"; \
		[ -s "/usr/local/bin/$src" ]; \
		[ ! -e "/usr/local/bin/$dst" ]; \
		ln -svT "$src" "/usr/local/bin/$dst"; \
	done

CMD ["python3"]
