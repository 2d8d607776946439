# ruff: noqa: E501  (container files stand as they are written)
"""Container files in the manner of public ones: their structure, on a base image that is at hand.

Package managers and compilers are functions of the shell that leave behind what the real ones would.
"""

from .features import Feature

_TOOLS = (
    "RUN mkdir -p /usr/local/bin /var/lib/apt/lists /root/.cache && for tool in apt-get pip npm go cargo R mvn apk conda; do "
    "printf '#!/bin/sh\\necho \"$0 $*\" >> /var/log/tools\\n' > /bin/$tool; chmod 755 /bin/$tool; done; mkdir -p /var/log\n"
)
_PYTHON = {"requirements.txt": b"flask==3.0\n", "app/main.py": b"print(1)\n", "app/util.py": b"", "README.md": b"#\n"}
_NODE = {"package.json": b"{}", "package-lock.json": b"{}", "src/index.js": b"1", "public/index.html": b"<p>"}
_GO = {"go.mod": b"module x\n", "go.sum": b"", "cmd/x/main.go": b"package main\n", "internal/a.go": b"package a\n"}
_RUST = {"Cargo.toml": b"[package]\n", "Cargo.lock": b"", "src/main.rs": b"fn main(){}\n"}
_JAVA = {"pom.xml": b"<project/>", "src/main/java/A.java": b"class A{}"}

REAL = (
    Feature(
        "python service",
        f"FROM {{base}}\n{_TOOLS}ENV PYTHONUNBUFFERED=1 \\\n    PIP_NO_CACHE_DIR=1\nWORKDIR /app\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends \\\n    gcc \\\n    libpq-dev \\\n"
        " && rm -rf /var/lib/apt/lists/*\nCOPY requirements.txt .\n"
        "RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt\nCOPY app/ ./app/\n"
        "RUN echo 'app:x:1000:1000::/app:/bin/sh' >> /etc/passwd\nUSER 1000\nEXPOSE 8000\n"
        'CMD ["python", "-m", "flask", "run", "--host=0.0.0.0"]\n',
        _PYTHON,
    ),
    Feature(
        "node in three stages",
        f"FROM {{base}} AS base\n{_TOOLS}WORKDIR /app\nFROM base AS deps\nCOPY package.json package-lock.json ./\n"
        "RUN --mount=type=cache,id=npm,target=/root/.npm npm ci\nRUN mkdir -p node_modules/a && touch node_modules/a/b\n"
        "FROM base AS build\nCOPY --from=deps /app/node_modules ./node_modules\nCOPY . .\nRUN npm run build && mkdir dist && cp src/* dist/\n"
        "FROM base\nENV NODE_ENV=production\nCOPY --from=build --chown=1000:1000 /app/dist ./dist\nCOPY --from=deps /app/node_modules ./node_modules\n"
        'USER 1000\nEXPOSE 3000\nHEALTHCHECK --interval=30s --timeout=3s CMD wget -q -O- http://localhost:3000/ || exit 1\nENTRYPOINT ["node", "dist/index.js"]\n',
        _NODE,
    ),
    Feature(
        "go, static, on scratch",
        f"# syntax=docker/dockerfile:1\nARG GO_VERSION=1.22\nFROM {{base}} AS build\n{_TOOLS}ARG TARGETOS TARGETARCH\nWORKDIR /src\n"
        "RUN --mount=type=bind,source=go.sum,target=go.sum --mount=type=bind,source=go.mod,target=go.mod go mod download -x\n"
        "RUN --mount=type=bind,target=. CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -o /out/x ./cmd/x && mkdir -p /out && cp go.mod /out/x\n"
        'FROM scratch\nCOPY --from=build /out/x /x\nLABEL org.opencontainers.image.source="https://example.org/x"\nENTRYPOINT ["/x"]\n',
        _GO,
    ),
    Feature(
        "rust with a planner",
        f"FROM {{base}} AS chef\n{_TOOLS}WORKDIR /app\nFROM chef AS planner\nCOPY . .\nRUN cargo chef prepare && echo recipe > recipe.json\n"
        "FROM chef AS builder\nCOPY --from=planner /app/recipe.json recipe.json\nRUN cargo chef cook --release\nCOPY . .\nRUN cargo build --release && mkdir -p target && cp src/main.rs target/x\n"
        'FROM {base} AS runtime\nCOPY --link --from=builder /app/target/x /usr/local/bin/\nENTRYPOINT ["/usr/local/bin/x"]\n',
        _RUST,
    ),
    Feature(
        "java with layers",
        f"FROM {{base}} AS build\n{_TOOLS}WORKDIR /w\nCOPY pom.xml .\nRUN mvn -B dependency:go-offline\nCOPY src src\nRUN mvn -B package && mkdir -p target/dependency && cp pom.xml target/dependency/\n"
        'FROM {base}\nARG DEPENDENCY=/w/target/dependency\nVOLUME /tmp\nCOPY --from=build ${DEPENDENCY} /app/lib\nENTRYPOINT ["java","-cp","app:app/lib/*","A"]\nSTOPSIGNAL SIGTERM\n',
        _JAVA,
    ),
    Feature(
        "rocker: scripts and a here-document",
        f'FROM {{base}}\n{_TOOLS}ENV R_VERSION="4.4.1"\nENV LANG=en_US.UTF-8\nRUN <<EOF\nset -e\napt-get update\nR -e \'install.packages("x")\'\nmkdir -p /usr/local/lib/R/site-library\nEOF\n'
        'COPY --chmod=755 <<\'EOF\' /usr/local/bin/start\n#!/bin/sh\nexec R "$@"\nEOF\nSHELL ["/bin/sh", "-ec"]\nRUN echo ok > /etc/rocker\nCMD ["R"]\n',
    ),
    Feature(
        "jupyter: a user and fixed permissions",
        f'ARG ROOT_IMAGE={{base}}\nFROM $ROOT_IMAGE\nARG NB_USER="jovyan"\nARG NB_UID="1000"\nARG NB_GID="100"\nUSER root\n{_TOOLS}'
        'ENV CONDA_DIR=/opt/conda SHELL=/bin/sh NB_USER="${NB_USER}" NB_UID=${NB_UID} NB_GID=${NB_GID}\nENV PATH="${CONDA_DIR}/bin:${PATH}" HOME="/home/${NB_USER}"\n'
        'COPY --chmod=0755 app/main.py /usr/local/bin/fix-permissions\nRUN echo "${NB_USER}:x:${NB_UID}:${NB_GID}::${HOME}:/bin/sh" >> /etc/passwd && mkdir -p "${CONDA_DIR}" "${HOME}" && chown "${NB_UID}:${NB_GID}" "${CONDA_DIR}" "${HOME}"\n'
        'USER ${NB_UID}\nWORKDIR "${HOME}"\nEXPOSE 8888\nHEALTHCHECK --interval=3s --timeout=1s --start-period=3s --retries=3 CMD /etc/jupyter/docker_healthcheck.py || exit 1\n',
        _PYTHON,
    ),
    Feature(
        "nf-core: conda by file",
        f'FROM {{base}}\n{_TOOLS}LABEL authors="someone" \\\n      description="image of a pipeline"\nCOPY README.md /\nRUN conda env create --quiet -f /README.md && conda clean -a\nENV PATH="/opt/conda/envs/nf-core/bin:$PATH"\nRUN conda env export --name x > /x.yml\n',
        _PYTHON,
    ),
    Feature(
        "compose: nginx with a template",
        f"FROM {{base}} AS builder\n{_TOOLS}COPY --parents src/**/*.js public/index.html /w/\nFROM {{base}} AS release\nRUN rm -rf /usr/share/html && mkdir -p /etc/nginx /usr/share/html\n"
        'COPY --from=builder /w /usr/share/html\nRUN echo "daemon off;" > /etc/nginx/nginx.conf\nEXPOSE 80/tcp 443\nCMD ["nginx", "-g", "daemon off;"]\n',
        _NODE,
    ),
    Feature(
        "development and production",
        f'FROM {{base}} AS development\n{_TOOLS}WORKDIR /app\nENV MODE=dev\nCOPY . .\nCMD ["npm", "start"]\nFROM development AS dev-envs\nRUN apk add git\nFROM {{base}} AS production\nENV MODE=prod\nCOPY --from=development /app/src /srv\n',
        _NODE,
        options={"target": "production"},
    ),
    Feature(
        "choice of a stage by an argument",
        "ARG VARIANT=alpine\nFROM {base} AS base-alpine\nENV V=alpine\nFROM {base} AS base-debian\nENV V=debian\nFROM base-${VARIANT} AS final\nRUN test $V = debian && echo $V > /v\n",
        options={"build_args": {"VARIANT": "debian"}},
    ),
    Feature(
        "an archive and its checksum",
        f'FROM {{base}}\n{_TOOLS}ADD t.tar.gz /opt/\nRUN test -e /opt/t && chown -R 0:0 /opt\nONBUILD COPY . /app\nENTRYPOINT ["/bin/sh", "-c"]\n',
        {"t.tar.gz": b"@archive"},
    ),
)
