# A base image of Debian's busybox-static; the context is /bin.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
