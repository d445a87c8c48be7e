#!/usr/bin/env bash
# Build both images, run the real stack, and disturb it under load in every way that it is said to bear; count every request.
#   docker/smoke.sh
# Prints a table and ends with 0 if nothing failed that may not. It uses 127.0.0.1 alone, and leaves nothing behind but the
# builder's cache. What can be set: PORT (18080; the next one is used, too), DOCKER (the client), BASE_IMAGE, HAPROXY_IMAGE,
# PROMETHEUS_IMAGE (found, pulled, or else made by docker/base-from-debian.sh), PHASE_SECONDS (15), KEEP=1 (keep images and records).
set -Eeuo pipefail
cd "$(dirname "$0")/.."

RUN=segserve-smoke-$$
PORT=${PORT:-18080}
PHASE_SECONDS=${PHASE_SECONDS:-15}
WORK=$(mktemp --directory)
export DOCKER_BUILDKIT=1

main() {
    trap clean_up EXIT
    trap 'say "failed at line $LINENO: $BASH_COMMAND"' ERR
    find_client
    find_bases
    build_images
    start_stack
    local load
    begin_load
    steady
    scale_up
    scale_down
    kill_process
    kill_container
    rolling_update
    swap_checkpoint
    end_load
    check_monitoring
    stop_stack
    judge
}

# --- preparation ------------------------------------------------------------------------------------------------------

find_client() {
    local client
    for client in ${DOCKER:-$(type -ap docker)}; do
        if "$client" build --help 2> /dev/null | grep -q -- --secret && "$client" info > /dev/null 2>&1; then
            export DOCKER=$client
            break
        fi
        DOCKER=
    done
    [ -n "${DOCKER:-}" ] || { echo "smoke.sh: no Docker client with BuildKit, or no engine answers" >&2; exit 2; }
    COMPOSE=$("$DOCKER" compose version > /dev/null 2>&1 && echo "$DOCKER compose" || echo docker-compose)
    command -v ${COMPOSE%% *} > /dev/null || { echo "smoke.sh: neither docker compose nor docker-compose is installed" >&2; exit 2; }
    say "client $DOCKER ($("$DOCKER" version --format '{{.Server.Version}}')), $COMPOSE ($($COMPOSE version --short))"
}

find_bases() {
    find_base BASE_IMAGE python:3.11-slim-bookworm local/python:3.11 python
    find_base HAPROXY_IMAGE haproxy:2.6 local/haproxy:2.6 haproxy
    find_base PROMETHEUS_IMAGE prom/prometheus:v2.42.0 local/prometheus:2.42 prometheus
    say "bases $BASE_IMAGE, $HAPROXY_IMAGE, $PROMETHEUS_IMAGE"
}

# find_base VARIABLE OFFICIAL LOCAL KIND: the image that is asked for, one that is here or can be pulled, or one that we make.
find_base() {
    local chosen=${!1:-}
    if [ -z "$chosen" ]; then
        for chosen in "$2" "$3" ''; do
            [ -z "$chosen" ] || ! "$DOCKER" image inspect "$chosen" > /dev/null 2>&1 || break
        done
    fi
    if [ -z "$chosen" ] && timeout 120 "$DOCKER" pull --quiet "$2" > /dev/null 2>&1; then
        chosen=$2
    elif [ -z "$chosen" ]; then
        docker/base-from-debian.sh "$4"
        chosen=$3
    fi
    export "$1=$chosen"
}

build_images() {
    local secrets=() ca=${PIP_CERT:-${SSL_CERT_FILE:-}}
    [ -z "$ca" ] || secrets+=(--secret "id=ca,src=$ca")
    [ -z "${PIP_CONFIG_FILE:-}" ] || secrets+=(--secret "id=pip.conf,src=$PIP_CONFIG_FILE")
    export SEGSERVE_IMAGE=$RUN:serve SEGTRAIN_IMAGE=$RUN:train GATEWAY_IMAGE=$RUN:gateway PROMETHEUS_SEGSERVE_IMAGE=$RUN:prometheus
    for target in serve train; do
        quietly "$DOCKER" build --network host "${secrets[@]}" --build-arg BASE_IMAGE --build-arg REVISION=smoke-1 --target $target --tag $RUN:$target .
    done
    quietly "$DOCKER" build --network host "${secrets[@]}" --build-arg BASE_IMAGE --build-arg REVISION=smoke-2 --target serve --tag $RUN:next .
    quietly "$DOCKER" build --build-arg HAPROXY_IMAGE --tag "$GATEWAY_IMAGE" docker/gateway
    quietly "$DOCKER" build --build-arg PROMETHEUS_IMAGE --tag "$PROMETHEUS_SEGSERVE_IMAGE" docker/prometheus
    "$DOCKER" run --rm --network none "$SEGTRAIN_IMAGE" --help > /dev/null
    say "built, $SECONDS s"
}

start_stack() {
    export COMPOSE_PROJECT_NAME=$RUN PUBLISH=127.0.0.1:$PORT PUBLISH_PROMETHEUS=127.0.0.1:$((PORT + 1))
    export SEGMENT_CPUS=1 SEGMENT_MEMORY=2g COMPOSE
    quietly $COMPOSE --profile monitoring up -d --no-build gateway segment prometheus
    await "the gateway answers" 120 ready
    say "the stack is ready, $SECONDS s"
}

# --- phases: each under load ------------------------------------------------------------------------------------------

begin_load() {
    mkfifo "$WORK/phases"
    python3 docker/smoke/load.py "http://127.0.0.1:$PORT/segment" examples/*.jpg --requests "$WORK/requests" < "$WORK/phases" &
    load=$!
    exec 8> "$WORK/phases"
}

steady() {
    phase "one replica"
    sleep "$PHASE_SECONDS"
}

scale_up() {
    phase "scale 1 -> 3"
    quietly $COMPOSE up -d --no-build --no-recreate --scale segment=3 segment
    await "three replicas get requests" 180 replicas_up 3
    sleep "$PHASE_SECONDS"
}

scale_down() {
    phase "scale 3 -> 2"
    quietly $COMPOSE up -d --no-build --no-recreate --scale segment=2 segment
    await "two replicas get requests" 60 replicas_up 2
    sleep "$PHASE_SECONDS"
}

kill_process() {
    local replica
    replica=$($COMPOSE ps -q segment | sed -n 1p)
    phase "kill -9, process"
    sleep 3
    "$DOCKER" exec "$replica" sh -c 'kill -9 $(cat /proc/1/task/1/children)' || true
    sleep "$PHASE_SECONDS"
    note_kill "kill -9, process" "$replica"
    await "the engine has started it again" 180 replicas_up 2
}

kill_container() {
    local replica
    replica=$($COMPOSE ps -q segment | sed -n 1p)
    phase "kill -9, container"
    sleep 3
    "$DOCKER" kill --signal KILL "$replica" > /dev/null
    sleep "$PHASE_SECONDS"
    note_kill "kill -9, container" "$replica"
    quietly $COMPOSE up -d --no-build --no-recreate --scale segment=2 segment
    await "two replicas get requests again" 180 replicas_up 2
}

rolling_update() {
    phase "rolling update"
    SEGSERVE_IMAGE=$RUN:next quietly docker/rolling-update.sh
    await "the new replicas get requests" 180 replicas_up 2
    sleep 5
    for replica in $($COMPOSE ps -q segment); do
        revision=$("$DOCKER" inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$replica")
        [ "$revision" = smoke-2 ] || complain "after the update a replica is of $revision"
    done
    export SEGSERVE_IMAGE=$RUN:next
}

swap_checkpoint() {
    phase "checkpoint swap"
    sleep 3
    # What is in the volume belongs to root, and no replica can write there.
    quietly "$DOCKER" run --rm --user 0:0 --network none --volume "${RUN}_checkpoints:/checkpoints" \
        --volume "$PWD/docker/smoke/next_version.py:/next_version.py:ro" --entrypoint python3 "$RUN:serve" \
        /next_version.py /checkpoints/deeplabv3plus-lite2-voc.safetensors 2
    await "version 2 answers" 120 answers_as 2
    sleep "$PHASE_SECONDS"
}

end_load() {
    phase ""
    exec 8>&-
    wait "$load"
}

check_monitoring() {
    local prometheus=http://127.0.0.1:$((PORT + 1))
    [ "$(query "$prometheus" 'sum(up{job="segment"})')" = 2 ] || complain "Prometheus does not see two replicas"
    [ "$(query "$prometheus" 'sum(up{job="gateway"})')" = 1 ] || complain "Prometheus does not see the gateway"
    fetch "$prometheus/api/v1/rules" | grep -q '"name":"SegserveReplicaDown"' || complain "Prometheus has not our alerts"
    say "Prometheus counts $(query "$prometheus" 'sum(increase(segserve_images_total{outcome="ok"}[1h]))') images"
}

stop_stack() {
    local containers container code
    containers=$($COMPOSE ps -q segment gateway)
    quietly $COMPOSE stop
    for container in $containers; do
        code=$("$DOCKER" inspect --format '{{.State.ExitCode}}' "$container")
        [ "$code" = 0 ] || complain "$("$DOCKER" inspect --format '{{.Name}}' "$container") ended with code $code"
    done
    say "stopped, exit codes looked at, $SECONDS s"
}

judge() {
    "$DOCKER" logs "$($COMPOSE ps -qa gateway 2> /dev/null || $COMPOSE ps -q gateway)" > "$WORK/gateway.log" 2> "$WORK/gateway.err"
    python3 docker/smoke/table.py "$WORK/requests" --gateway-log "$WORK/gateway.log" --kills "$WORK/kills" || touch "$WORK/wrong"
    [ ! -e "$WORK/wrong" ] || { echo "smoke.sh: FAILED" >&2; exit 1; }
    say "passed, $SECONDS s"
}

# --- tools ------------------------------------------------------------------------------------------------------------

say() { echo "smoke.sh: $*"; }

complain() {
    say "WRONG: $*"
    touch "$WORK/wrong"
}

phase() {
    [ -z "$1" ] || say "phase: $1"
    echo "$1" >&8
}

# note_kill PHASE CONTAINER: when its process ended, as the engine saw it; whoever takes its place starts after this.
note_kill() {
    printf '{"phase": "%s", "when": %s, "replaced": %s}\n' "$1" \
        "$(date --date "$("$DOCKER" inspect --format '{{.State.FinishedAt}}' "$2")" +%s.%N)" "$(date +%s.%N)" >> "$WORK/kills"
}

# quietly COMMAND ...: show what it wrote only if it fails.
quietly() {
    "$@" > "$WORK/output" 2>&1 || { cat "$WORK/output" >&2; say "failed: $*"; exit 1; }
}

# await WHAT SECONDS COMMAND ...: wait until a command succeeds.
await() {
    local what=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || { say "waited in vain until $what"; $COMPOSE ps; $COMPOSE logs --tail 20; exit 1; }
        sleep 0.25
    done
}

fetch() { python3 -c 'import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1], timeout=5).read())' "$1" 2> /dev/null; }
ready() { fetch "http://127.0.0.1:$PORT/readyz" > /dev/null; }

# answers_as VERSION: eight masks in a row come from this version of the model.
answers_as() {
    python3 - "http://127.0.0.1:$PORT/segment" examples/cat.jpg "$1" << 'PYTHON'
import sys, urllib.request
address, picture, version = sys.argv[1:]
request = urllib.request.Request(address, open(picture, "rb").read(), {"Content-Type": "image/jpeg"})
sys.exit(any(urllib.request.urlopen(request, timeout=60).headers["X-Model-Version"] != version for _ in range(8)))
PYTHON
}

# replicas_up N: the gateway sends requests to just so many.
replicas_up() {
    local metrics
    metrics=$("$DOCKER" exec "$($COMPOSE ps -q gateway)" bash -c \
        "exec 3<>/dev/tcp/127.0.0.1/8404 && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 && cat <&3")
    [ "$(grep -c '^haproxy_server_status{proxy="replicas",.*state="UP"} 1' <<< "$metrics")" = "$1" ]
}

# query PROMETHEUS EXPRESSION: its value, as a whole number.
query() {
    python3 - "$@" << 'PYTHON'
import json, sys, urllib.parse, urllib.request
address = sys.argv[1] + "/api/v1/query?" + urllib.parse.urlencode({"query": sys.argv[2]})
result = json.load(urllib.request.urlopen(address, timeout=5))["data"]["result"]
print(round(float(result[0]["value"][1])) if result else "nothing")
PYTHON
}

clean_up() {
    local code=$?
    trap - EXIT
    exec 8>&- || true
    [ -z "${load:-}" ] || kill "$load" 2> /dev/null || true
    [ -z "${COMPOSE_PROJECT_NAME:-}" ] || $COMPOSE --profile monitoring down --volumes --remove-orphans --timeout 5 > /dev/null 2>&1 || true
    if [ -z "${KEEP:-}" ] && [ -n "${DOCKER:-}" ]; then
        "$DOCKER" image ls --quiet "$RUN" | sort -u | xargs --no-run-if-empty "$DOCKER" rmi --force > /dev/null 2>&1 || true
    fi
    if [ -n "${KEEP:-}" ]; then say "kept $WORK"; else rm -rf "$WORK"; fi
    exit "$code"
}

main "$@"
