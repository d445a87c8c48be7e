#!/usr/bin/env bash
# Look at what the containers are given with the programs that will read it, as far as they are installed here.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
has() { command -v "$1" > /dev/null || { missing+=("$1"); return 1; }; }

for script in *.sh */*.sh; do bash -n "$script"; done
if has haproxy; then haproxy -c -q -f gateway/haproxy.cfg; fi
if has promtool; then
    promtool check config prometheus/prometheus.yml > /dev/null
    promtool check rules prometheus/rules.yml > /dev/null
    promtool test rules prometheus/rules.test.yml > /dev/null
fi
compose=$(docker compose version > /dev/null 2>&1 && echo "docker compose" || echo docker-compose)
if has ${compose% *}; then $compose --file ../docker-compose.yml config --quiet; fi
if has kubectl; then for overlay in base overlays/keda overlays/gpu; do kubectl kustomize "kubernetes/$overlay" > /dev/null; done; fi

if [ ${#missing[@]} -gt 0 ]; then
    echo "docker/check.sh: NOT CHECKED, for it is not installed here: ${missing[*]} (Debian: haproxy, prometheus, docker-compose)" >&2
else
    echo "docker/check.sh: gateway, Prometheus, compose file and manifests are sound"
fi
