# syntax=docker/dockerfile:1
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS packages
COPY requirements/serving.txt /requirements.txt
RUN python3 -m venv /opt/clustnet \
    && /opt/clustnet/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements.txt

FROM ${BASE_IMAGE}
ENV PATH=/opt/clustnet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BENTOML_DO_NOT_TRACK=True \
    ORT_DISABLE_TELEMETRY=1 \
    BENTOML_HOME=/tmp/bentoml
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
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
# The exec form makes the server process 1, so that SIGTERM reaches it and accepted requests finish, within 35 seconds;
# give `docker stop --time` and Kubernetes' terminationGracePeriodSeconds a few more.
STOPSIGNAL SIGTERM
CMD ["bentoml", "serve", "--host", "0.0.0.0", "--port", "3000", "--timeout-graceful-shutdown", "35"]
