ARG VARIANT=alpine
FROM {base} AS base-alpine
ENV V=alpine
FROM {base} AS base-debian
ENV V=debian
FROM base-${VARIANT} AS final
RUN test $V = debian && echo $V > /v
