"""A configuration of HAProxy as Ray Serve writes it, for one application with a replica and Ray's stand-in."""

CONFIG = """global
    log 127.0.0.1:514 local0 info
    stats socket /tmp/x/admin.sock mode 666 level admin expose-fd listeners
    stats timeout 30s
    maxconn 4096
    nbthread 2
    tune.bufsize 131072
    hard-stop-after 10s
defaults
    mode http
    option log-health-checks
    timeout connect 5s
    timeout client 3600s
    log global
    option httplog
    option abortonclose
    option splice-request
    option splice-response
    option redispatch 1
    retry-on conn-failure
    option http-no-delay
    option idle-close-on-response
    errorfile 502 /tmp/x/500.http
    errorfile 503 /tmp/x/500.http
    balance leastconn
frontend prometheus
    bind :9101
    mode http
    http-request use-service prometheus-exporter if { path /metrics }
    no log
frontend http_frontend
    bind 127.0.0.1:8000
    acl healthcheck path -i /-/healthz
    http-request set-log-level debug if healthcheck
    acl backend_http-raysignal_server_up nbsrv(http-raysignal) ge 1
    http-request return status 200 content-type text/plain string "ok" if healthcheck backend_http-raysignal_server_up
    acl is_http-raysignal path_beg /
    acl is_http-raysignal path /
    use_backend http-raysignal if is_http-raysignal
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found."
backend http-raysignal
    log global
    http-reuse always
    option httpchk GET /-/healthz
    http-check expect status 200
    default-server fastinter 250ms downinter 250ms fall 2 rise 2 inter 5s check
    server replica 127.0.0.1:30000 check observe layer4 error-limit 3 on-error mark-down
    server fallback 127.0.0.1:30001 check backup
listen stats
  bind *:8404
  stats enable
  stats uri /stats
"""
