# One image for the service, and one for the nodes of a Ray cluster; nothing is compiled at their start.
#   docker build -t raysignal .                            the service; `docker run raysignal doctor` is any verb
#   docker build -t raysignal-node --target node .         the same without an entry point, for ray-cluster.yaml
#   docker run -p 8000:8000 -e RAYSIGNAL_HTTP__HOST=0.0.0.0 -e RAYSIGNAL_HTTP__API_KEY=… -v raysignal:/data raysignal
FROM python:3.11-slim AS installed
COPY requirements/bootstrap.lock requirements/service.lock /requirements/
RUN python -m venv /opt/raysignal \
 && /opt/raysignal/bin/python -m pip install --no-cache-dir --require-hashes -r /requirements/bootstrap.lock \
 && /opt/raysignal/bin/uv pip install --no-cache --python /opt/raysignal/bin/python \
      --compile-bytecode --no-deps --require-hashes -r /requirements/service.lock
COPY LICENSE README.md pyproject.toml /source/
COPY raysignal /source/raysignal
COPY engine /source/engine
COPY agents /source/agents
COPY serve /source/serve
COPY experiments /source/experiments
COPY cli /source/cli
COPY data /source/data
COPY runtime /source/runtime
COPY loopback /source/loopback
# The package with its metadata and programs; then what only builds and tests need goes.
RUN /opt/raysignal/bin/uv pip install --no-cache --python /opt/raysignal/bin/python --compile-bytecode --no-deps /source \
 && /opt/raysignal/bin/uv pip uninstall --python /opt/raysignal/bin/python uv pip \
 && find /opt/raysignal/lib -depth \( -type d \( -name tests -o -name test \) \
      -o -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.a' -o -name '*.h' -o -name '*.jar' \) \) \
      -not -path '*/numpy/*' -exec rm -rf {} +

FROM python:3.11-slim AS node
RUN useradd --create-home --uid 1000 raysignal \
 && mkdir -p /data /app && chown raysignal:raysignal /data /app && chmod 700 /data \
 && apt-get update && apt-get install --yes --no-install-recommends openssh-client rsync \
 && rm -rf /var/lib/apt/lists/*
COPY --from=installed /opt/raysignal /opt/raysignal
# A login shell, such as Ray's cluster launcher starts, forgets PATH; it knows this folder.
RUN ln -s /opt/raysignal/bin/ray /opt/raysignal/bin/serve /opt/raysignal/bin/raysignal \
      /opt/raysignal/bin/raysignal-haproxy /usr/local/bin/
USER raysignal
WORKDIR /app
COPY --chown=raysignal:raysignal serve/config.yaml serve/config.yaml
ENV PATH=/opt/raysignal/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/app/.numba \
    RAYSIGNAL_STORE=file:///data \
    RAY_AUTH_MODE=token \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 \
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S=0 \
    RAY_SERVE_HAPROXY_METRICS_ENABLED=0 \
    RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=60 \
    RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S=120 \
    RAY_worker_niceness=0 \
    RAY_SERVE_HAPROXY_BINARY_PATH=/opt/raysignal/bin/raysignal-haproxy
# Compiled once here, so that no process of any container does it again.
RUN python -m raysignal.engine.warm && python -m raysignal.agents.warm
CMD ["bash"]

FROM node AS service
VOLUME /data
EXPOSE 8000
# `serve` needs RAYSIGNAL_HTTP__API_KEY (or RAYSIGNAL_HTTP__WEBHOOK_SECRET) as soon as RAYSIGNAL_HTTP__HOST is not loopback.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('RAYSIGNAL_HTTP__PORT') or os.environ.get('SIGNAL_SERVICE_PORT') or '8000') + '/healthz', timeout=4)"]
ENTRYPOINT ["raysignal"]
CMD ["serve"]
