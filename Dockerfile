# One image for head, worker and service: the pinned dependencies, the code, nothing to compile at start.
#   docker build -t raysignal .
#   docker run -p 8000:8000 -e RAYSIGNAL_HOST=0.0.0.0 -e RAYSIGNAL_API_KEY=… -v raysignal:/data raysignal
FROM python:3.11-slim AS dependencies
COPY requirements/bootstrap.lock requirements/service.lock /requirements/
RUN python -m venv /opt/raysignal \
 && /opt/raysignal/bin/pip install --no-cache-dir --require-hashes -r /requirements/bootstrap.lock \
 && /opt/raysignal/bin/uv pip install --no-cache --python /opt/raysignal/bin/python \
      --require-hashes -r /requirements/service.lock \
 && /opt/raysignal/bin/uv pip uninstall --python /opt/raysignal/bin/python uv
# The two programs of pyproject.toml; the code itself stands under /app, as a folder.
RUN printf '#!/bin/sh\nexec /opt/raysignal/bin/python -m cli "$@"\n' > /opt/raysignal/bin/raysignal \
 && printf '#!/bin/sh\nexec /opt/raysignal/bin/python /app/serve/haproxy.py "$@"\n' \
      > /opt/raysignal/bin/raysignal-haproxy \
 && chmod 755 /opt/raysignal/bin/raysignal /opt/raysignal/bin/raysignal-haproxy

FROM python:3.11-slim
RUN useradd --create-home --uid 1000 raysignal \
 && mkdir -p /data /app && chown raysignal:raysignal /data /app
COPY --from=dependencies /opt/raysignal /opt/raysignal
USER raysignal
WORKDIR /app
COPY --chown=raysignal:raysignal LICENSE README.md pyproject.toml ./
COPY --chown=raysignal:raysignal engine engine
COPY --chown=raysignal:raysignal agents agents
COPY --chown=raysignal:raysignal serve serve
COPY --chown=raysignal:raysignal experiments experiments
COPY --chown=raysignal:raysignal cli cli
COPY --chown=raysignal:raysignal data data
ENV PATH=/opt/raysignal/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/app/.numba \
    RAYSIGNAL_STORE=file:///data \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 \
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S=0 \
    RAY_SERVE_HAPROXY_METRICS_ENABLED=0 \
    RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=60 \
    RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S=120 \
    RAY_worker_niceness=0 \
    RAY_SERVE_HAPROXY_BINARY_PATH=/opt/raysignal/bin/raysignal-haproxy
# Compiled once here, so that no process of any container does it again.
RUN python -m engine.warm && python -m agents.warm
VOLUME /data
EXPOSE 8000
# `serve` needs RAYSIGNAL_API_KEY (or RAYSIGNAL_WEBHOOK_SECRET) as soon as RAYSIGNAL_HOST is not loopback.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('RAYSIGNAL_PORT', '8000') + '/healthz', timeout=4)"]
ENTRYPOINT ["raysignal"]
CMD ["serve"]
