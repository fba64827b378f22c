# docs/container.md tells how it is built; `make image` does it, with the labels.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS packages
# gpu: NVIDIA's onnxruntime with CUDA and cuDNN, which runs without a GPU, too; cpu: the small one.
ARG RUNTIME=gpu
COPY requirements/serving-${RUNTIME}.txt /requirements.txt
# pip has an environment of its own, which stays behind. The secrets, a CA bundle and a pip.conf, are for networks that
# need them; no layer holds them. The lock names all packages; without --no-deps pip would refuse one that asks for an extra.
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/clustnet \
    && /opt/pip/bin/pip --python /opt/clustnet/bin/python install --disable-pip-version-check --progress-bar off \
        --only-binary :all: --require-hashes --no-deps -r /requirements.txt \
    && find /opt/clustnet -type d -name tests -prune -exec rm -r {} + # the packages' own tests, 20 MB

FROM ${BASE_IMAGE}
ENV PATH=/opt/clustnet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BENTOML_DO_NOT_TRACK=True \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_HOST=0.0.0.0 \
    BENTOML_PORT=3000 \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent clustnet
WORKDIR /srv/clustnet
COPY --from=packages /opt/clustnet /opt/clustnet
COPY bentofile.yaml ./
COPY models models
COPY clustnet clustnet
COPY serving serving
USER 10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"BENTOML_PORT\"]}/readyz', timeout=2)"]
# The exec form makes the server process 1, so that SIGTERM reaches it and accepted requests finish, within 35 seconds;
# give `docker stop --time` and Kubernetes' terminationGracePeriodSeconds a few more.
STOPSIGNAL SIGTERM
CMD ["bentoml", "serve", "--timeout-graceful-shutdown", "35"]
# The commit's, not the build's, so that building it again gives the same; last, so that a commit reuses all layers.
ARG VERSION=unknown REVISION=unknown CREATED=unknown
LABEL org.opencontainers.image.title="clustnet" \
    org.opencontainers.image.description="Finds the subtypes hidden behind coarse labels, and serves them." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
