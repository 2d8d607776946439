# syntax=docker/dockerfile:1

ARG BASE_IMAGE={base}
ARG PYTHON_VERSION=3.11

FROM ${BASE_IMAGE} as dev-base
{tools}
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        build-essential \
        ccache && \
    rm -rf /var/lib/apt/lists/*
RUN mkdir -p /opt/ccache
ENV PATH /opt/conda/bin:$PATH

FROM dev-base as conda
ARG PYTHON_VERSION=3.11
# Automatically set by buildx
ARG TARGETPLATFORM
RUN case ${TARGETPLATFORM} in \
         "linux/arm64")  MINICONDA_ARCH=aarch64  ;; \
         *)              MINICONDA_ARCH=x86_64   ;; \
    esac && \
    echo "echo $MINICONDA_ARCH" > ~/miniconda.sh
COPY requirements.txt .
RUN chmod +x ~/miniconda.sh && \
    sh ~/miniconda.sh | grep -q x86_64 && \
    rm ~/miniconda.sh && mkdir -p /opt/conda/bin && \
    conda install -y python=${PYTHON_VERSION} cmake && echo "$PYTHON_VERSION" > /opt/conda/version

FROM dev-base as submodule-update
WORKDIR /opt/pytorch
COPY . .

FROM conda as build
ARG CMAKE_VARS
WORKDIR /opt/pytorch
COPY --from=conda /opt/conda /opt/conda
COPY --from=submodule-update /opt/pytorch /opt/pytorch
RUN --mount=type=cache,target=/opt/ccache \
    export eval ${CMAKE_VARS} && \
    TORCH_CUDA_ARCH_LIST="7.0 7.2" make install

FROM conda as conda-installs
ARG PYTHON_VERSION=3.11
ARG CUDA_VERSION=12.1
ARG INSTALL_CHANNEL=whl/nightly
RUN conda install -y python=${PYTHON_VERSION}
ARG TARGETPLATFORM
RUN case ${TARGETPLATFORM} in \
         "linux/arm64")  pip install torch ;; \
         *)              pip install --extra-index-url https://example.org/${INSTALL_CHANNEL}/${CUDA_VERSION#.}/ torch ;; \
    esac && grep -q 'whl/nightly/12.1/ torch' /var/log/tools
RUN IS_CUDA=True; \
    echo "Is it compiled with cuda: ${IS_CUDA}"; \
    if test "${IS_CUDA}" != "True" -a ! -z "${CUDA_VERSION}"; then \
	exit 1; \
    fi

FROM ${BASE_IMAGE} as official
ARG PYTORCH_VERSION
ARG TRITON_VERSION
ARG CUDA_VERSION
LABEL com.nvidia.volumes.needed="nvidia_driver"
COPY --from=conda-installs /opt/conda /opt/conda
RUN if test -n "${TRITON_VERSION}" -a "${CUDA_VERSION}" != "x"; then \
        exit 1; \
    fi
ENV PATH /opt/conda/bin:$PATH
ENV NVIDIA_DRIVER_CAPABILITIES compute,utility
ENV PYTORCH_VERSION ${PYTORCH_VERSION}
WORKDIR /workspace

FROM official as dev
# Should override the already installed version from the official-image stage
COPY --from=build /opt/conda /opt/conda
