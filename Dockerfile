# Two images from one file: `serve` answers, `train` makes checkpoints. docs/deployment.md tells how to build and run them.
#
#   DOCKER_BUILDKIT=1 docker build --target serve --tag segserve:serve .
#   DOCKER_BUILDKIT=1 docker build --target train --tag segserve:train .
#
# Where packages come through a proxy or a mirror, pip's own configuration and its CA are build secrets, which no layer
# holds: --secret id=pip.conf,src=PATH --secret id=ca,src=PATH

ARG BASE_IMAGE=python:3.11-slim-bookworm

# --- base: Python, and a user who owns nothing ---------------------------------------------------------------------
FROM ${BASE_IMAGE} AS base
RUN groupadd --gid 10001 segserve \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin segserve

# --- requirements: of the project's description, only what says which packages to install ----------------------------
FROM base AS requirements
COPY pyproject.toml docker/requirements.py /project/
WORKDIR /project
# Runtimes and other extras of the service: --build-arg EXTRAS='openvino tracing'.
ARG EXTRAS
RUN { python3 requirements.py pyproject.toml; test -z "$EXTRAS" || python3 requirements.py pyproject.toml $EXTRAS; } > serve.txt \
 && python3 requirements.py pyproject.toml train export > train.txt

# --- installer: pip and the project's build backend, which no image that runs contains --------------------------------
FROM base AS installer
COPY constraints.txt docker/install.sh /opt/installer/
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/var/cache/pip \
    python3 -m venv /opt/installer \
 && TARGET_PYTHON=/opt/installer/bin/python /opt/installer/install.sh --constraint /opt/installer/constraints.txt hatchling

# --- dependencies: the one large layer, shared by both images ----------------------------------------------------------
FROM base AS dependencies
# What torch brings that nothing here uses goes in the same step, or its bytes would stay: triton, which only torch.compile
# needs (the image for training installs it again), headers, static libraries, and libraries that no other is linked with.
# cuda: PyPI's wheels, which also run without a GPU. cpu: a fraction of the size, from the index that TORCH_INDEX names.
ARG TORCH=cuda
ARG TORCH_INDEX
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/var/cache/pip \
    --mount=type=bind,from=installer,source=/opt/installer,target=/opt/installer \
    --mount=type=bind,from=requirements,source=/project,target=/project \
    set -eu; \
    python3 -m venv --without-pip /opt/segserve; \
    cd /opt/installer; \
    case "$TORCH" in \
        cuda) ;; \
        cpu) test -n "${TORCH_INDEX:-}" || { echo "TORCH=cpu needs TORCH_INDEX, the index that has torch's CPU wheels" >&2; exit 2; }; \
             ./install.sh --constraint constraints.txt --index-url "$TORCH_INDEX" torch torchvision ;; \
        *) echo "TORCH=$TORCH: it is cuda or cpu" >&2; exit 2 ;; \
    esac; \
    ./install.sh --constraint constraints.txt --requirement /project/serve.txt; \
    cd /opt/segserve/lib/python3*/site-packages; \
    rm -rf triton triton-*.dist-info torch/include nvidia/*/include; \
    find nvidia -name '*.a' -delete; \
    rm -f nvidia/*/lib/libcusolverMg.so.* nvidia/*/lib/libnvblas.so.* nvidia/*/lib/libcufftw.so.*

# --- code: the project itself, a small layer that every change makes anew ----------------------------------------------
FROM installer AS serve-wheel
COPY pyproject.toml README.md LICENSE /project/
COPY model_zoo /project/model_zoo
COPY service /project/service
RUN /opt/installer/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheel /project

FROM serve-wheel AS train-wheel
COPY training /project/training
RUN rm -r /wheel \
 && /opt/installer/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheel /project

FROM dependencies AS serve-code
RUN --mount=type=bind,from=installer,source=/opt/installer,target=/opt/installer \
    --mount=type=bind,from=serve-wheel,source=/wheel,target=/wheel \
    /opt/installer/install.sh --quiet --no-deps --no-index --target /opt/code /wheel/*.whl \
 && rm /opt/code/bin/segtrain

FROM dependencies AS train-code
RUN --mount=type=bind,from=installer,source=/opt/installer,target=/opt/installer \
    --mount=type=bind,from=train-wheel,source=/wheel,target=/wheel \
    /opt/installer/install.sh --quiet --no-deps --no-index --target /opt/code /wheel/*.whl

# --- serve ------------------------------------------------------------------------------------------------------------
FROM dependencies AS serve
# torch wants a folder to write to already when it is imported; /dev/shm is there with a read-only root file system, too.
ENV PATH=/opt/code/bin:/opt/segserve/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/code \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    TMPDIR=/dev/shm \
    TORCHINDUCTOR_CACHE_DIR=/dev/shm/torchinductor \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SEGSERVE_HOST=0.0.0.0 \
    SEGSERVE_CHECKPOINTS=/checkpoints
# An empty volume mounted there begins with this checkpoint.
COPY model_zoo/checkpoints/deeplabv3plus-lite2-voc.safetensors /checkpoints/
COPY docker/healthcheck.py docker/start.py /opt/
COPY --from=serve-code /opt/code /opt/code
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["python3", "-I", "-S", "/opt/healthcheck.py"]
ENTRYPOINT ["python3", "-I", "/opt/start.py"]
CMD ["serve"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="segserve" \
      org.opencontainers.image.description="Turns pictures into segmentation masks over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# --- train ------------------------------------------------------------------------------------------------------------
FROM dependencies AS train
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca --mount=type=cache,target=/var/cache/pip \
    --mount=type=bind,from=installer,source=/opt/installer,target=/opt/installer \
    --mount=type=bind,from=requirements,source=/project,target=/project \
    /opt/installer/install.sh --constraint /opt/installer/constraints.txt --requirement /project/serve.txt --requirement /project/train.txt \
 && install --directory --owner 10001 --group 10001 /runs
ENV PATH=/opt/code/bin:/opt/segserve/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/code \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    TMPDIR=/dev/shm \
    TORCHINDUCTOR_CACHE_DIR=/dev/shm/torchinductor \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=train-code /opt/code /opt/code
USER 10001:10001
WORKDIR /runs
STOPSIGNAL SIGTERM
ENTRYPOINT ["segtrain"]
CMD ["--help"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="segserve training" \
      org.opencontainers.image.description="Trains, evaluates and exports segmentation networks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
