#!/usr/bin/env bash
# Compare two replicas of one thread with one replica of two, both behind the gateway, and measure what the gateway adds:
#   docker/throughput.sh
# Uses the images that SEGSERVE_IMAGE and GATEWAY_IMAGE name, and PORT (18084) and the next on 127.0.0.1.
set -euo pipefail
cd "$(dirname "$0")/.."

export DOCKER=${DOCKER:-docker}
COMPOSE=${COMPOSE:-$($DOCKER compose version > /dev/null 2>&1 && echo "$DOCKER compose" || echo docker-compose)}
PORT=${PORT:-18084}
RUN=segserve-throughput-$$

# of STACK CPUS PORT COMMAND ...: docker compose for one of the two stacks.
of() {
    local stack=$1 cpus=$2 port=$3
    shift 3
    COMPOSE_PROJECT_NAME=$RUN-$stack SEGMENT_CPUS=$cpus SEGMENT_MEMORY=2g PUBLISH=127.0.0.1:$port $COMPOSE "$@"
}
small() { of small 1 "$PORT" "$@"; }
large() { of large 2 $((PORT + 1)) "$@"; }

clean_up() {
    small down --volumes --timeout 5 > /dev/null 2>&1 || true
    large down --volumes --timeout 5 > /dev/null 2>&1 || true
}

trap clean_up EXIT
small up -d --no-build --scale segment=2 gateway segment > /dev/null 2>&1
large up -d --no-build gateway segment > /dev/null 2>&1
for replica in $(small ps -q segment) $(large ps -q segment); do
    until [ "$("$DOCKER" inspect --format '{{.State.Health.Status}}' "$replica")" = healthy ]; do sleep 0.5; done
done
sleep 2
address=$("$DOCKER" inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$(large ps -q segment)")
python3 benchmarks/gateway.py examples/cat.jpg \
    --overhead "http://$address:8000" "http://127.0.0.1:$((PORT + 1))" \
    --throughput "2 replicas, 1 thread each=http://127.0.0.1:$PORT" "1 replica, 2 threads=http://127.0.0.1:$((PORT + 1))"
