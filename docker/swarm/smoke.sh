#!/usr/bin/env bash
# Deploy the stack to a swarm of this one node, update it under load, then update it to an image that never gets healthy,
# which the swarm has to undo; count every request.
#   docker/swarm/smoke.sh SERVE-IMAGE NEXT-IMAGE GATEWAY-IMAGE
# The images are those of docker/smoke.sh with KEEP=1, or any. A swarm that was not there before is left again. It
# publishes PORT (18082) on every address of this machine.
set -Eeuo pipefail
cd "$(dirname "$0")/../.."

export DOCKER=${DOCKER:-docker} SEGSERVE_IMAGE=$1 GATEWAY_IMAGE=$3
NEXT=$2
PORT=${PORT:-18082}
STACK=segserve-smoke-$$
WORK=$(mktemp --directory)

main() {
    trap clean_up EXIT
    trap 'echo "swarm/smoke.sh: failed at line $LINENO: $BASH_COMMAND"' ERR
    enter_swarm
    make_broken_image
    PUBLISH=$PORT SEGMENT_CPUS=1 SEGMENT_MEMORY=2g REPLICAS=2 RESOLVE_IMAGE=never docker/swarm/deploy.sh "$STACK"
    await "two replicas are there" replicas_are 2 "$SEGSERVE_IMAGE"
    await "the gateway answers" answers
    mkfifo "$WORK/phases"
    python3 docker/smoke/load.py "http://127.0.0.1:$PORT/segment" examples/*.jpg --requests "$WORK/requests" < "$WORK/phases" &
    load=$!
    exec 8> "$WORK/phases"

    phase "two replicas"
    sleep 15
    phase "rolling update"
    update "$NEXT"
    await "the new image runs" replicas_are 2 "$NEXT"
    phase "broken image, undone"
    update "$STACK:broken"
    await "the swarm has undone the update" state_is rollback_completed
    await "the image from before runs" replicas_are 2 "$NEXT"
    sleep 5
    phase ""
    exec 8>&-
    wait "$load"
    "$DOCKER" service ps --no-trunc --format '{{.Image}} {{.CurrentState}} {{.Error}}' "${STACK}_segment"
    python3 docker/smoke/table.py "$WORK/requests"
}

enter_swarm() {
    [ "$("$DOCKER" info --format '{{.Swarm.LocalNodeState}}')" = active ] && return
    "$DOCKER" swarm init --advertise-addr 127.0.0.1 > /dev/null
    entered=yes
}

# An image whose process ends at once, as it does with a setting that cannot be met.
make_broken_image() {
    printf 'FROM %s\nENV SEGSERVE_DEVICE=cuda:63\n' "$SEGSERVE_IMAGE" | "$DOCKER" build --quiet --tag "$STACK:broken" - > /dev/null
}

update() { "$DOCKER" service update --detach --no-resolve-image --image "$1" "${STACK}_segment" > /dev/null; }
state_is() { [ "$("$DOCKER" service inspect --format '{{.UpdateStatus.State}}' "${STACK}_segment")" = "$1" ]; }
answers() { python3 -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)' "http://127.0.0.1:$PORT/readyz" 2> /dev/null; }

# replicas_are N IMAGE: just so many tasks of the service run, all of this image.
replicas_are() {
    local running
    running=$("$DOCKER" service ps --filter desired-state=running --format '{{.Image}} {{.CurrentState}}' "${STACK}_segment")
    [ "$(grep -c "^$2 Running" <<< "$running")" = "$1" ] && [ "$(wc -l <<< "$running")" = "$1" ]
}

phase() {
    [ -z "$1" ] || echo "swarm/smoke.sh: phase: $1"
    echo "$1" >&8
}

# await WHAT COMMAND ...: wait until a command succeeds.
await() {
    local what=$1 deadline=$((SECONDS + 300))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "swarm/smoke.sh: waited in vain until $what"; "$DOCKER" service ps --no-trunc "${STACK}_segment"; exit 1; }
        sleep 0.5
    done
    echo "swarm/smoke.sh: $what, $SECONDS s"
}

clean_up() {
    local code=$?
    trap - EXIT ERR
    exec 8>&- || true
    [ -z "${load:-}" ] || kill "$load" 2> /dev/null || true
    "$DOCKER" stack rm "$STACK" > /dev/null 2>&1 || true
    until [ -z "$("$DOCKER" ps --quiet --filter "label=com.docker.stack.namespace=$STACK")" ]; do sleep 1; done
    sleep 2
    "$DOCKER" ps --all --quiet --filter "label=com.docker.stack.namespace=$STACK" | xargs --no-run-if-empty "$DOCKER" rm --force > /dev/null || true
    "$DOCKER" volume ls --quiet --filter "label=com.docker.stack.namespace=$STACK" | xargs --no-run-if-empty "$DOCKER" volume rm > /dev/null || true
    if [ -n "${entered:-}" ]; then
        "$DOCKER" swarm leave --force > /dev/null
        "$DOCKER" network rm docker_gwbridge > /dev/null 2>&1 || true
    fi
    "$DOCKER" rmi "$STACK:broken" > /dev/null 2>&1 || true
    rm -rf "$WORK"
    exit "$code"
}

main
