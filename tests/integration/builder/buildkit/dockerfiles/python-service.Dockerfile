FROM {base}
{tools}
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN apt-get update && apt-get install -y --no-install-recommends \
    gcc \
    libpq-dev \
 && rm -rf /var/lib/apt/lists/*
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt
COPY app/ ./app/
RUN echo 'app:x:1000:1000::/app:/bin/sh' >> /etc/passwd
USER 1000
EXPOSE 8000
CMD ["python", "-m", "flask", "run", "--host=0.0.0.0"]
