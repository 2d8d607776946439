# An environment that is built with one image and runs in another.

FROM {base} AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy

# The interpreter of the image is used.
ENV UV_PYTHON_DOWNLOADS=0
{tools}
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    uv sync --frozen --no-install-project --no-dev && test -e uv.lock && mkdir -p .venv/bin
ADD . /app
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev && cp src/main.py .venv/bin/main

FROM {base}
RUN echo 'app:x:1000:' >> /etc/group && echo 'app:x:1000:1000::/app:/bin/sh' >> /etc/passwd

COPY --from=builder --chown=app:app /app /app

ENV PATH="/app/.venv/bin:$PATH"

RUN test ! -e /app/ignored.pyc && [ $(stat -c %U:%g /app/.venv/bin/main) = app:1000 ]
CMD ["fastapi", "dev", "--host", "0.0.0.0", "/app/src"]
