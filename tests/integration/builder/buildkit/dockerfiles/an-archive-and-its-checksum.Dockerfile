FROM {base}
{tools}
ADD t.tar.gz /opt/
RUN test -e /opt/t && chown -R 0:0 /opt
ONBUILD COPY . /app
ENTRYPOINT ["/bin/sh", "-c"]
