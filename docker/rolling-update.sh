#!/usr/bin/env bash
# Put another image or other settings in the place of the replicas that run, without losing a request:
#   SEGSERVE_IMAGE=segserve:new docker/rolling-update.sh
# As many new replicas as there are old ones start beside them; once all are healthy the old ones are drained and removed.
# If one does not get healthy within UPDATE_PATIENCE (180 s), the new ones are removed, and the old ones never noticed.
# COMPOSE is the command with its files, "docker compose" or "docker-compose".
set -euo pipefail

DOCKER=${DOCKER:-docker}
COMPOSE=${COMPOSE:-$($DOCKER compose version > /dev/null 2>&1 && echo "$DOCKER compose" || echo docker-compose)}
SERVICE=${SERVICE:-segment}

main() {
    local old new count
    old=$($COMPOSE ps -q "$SERVICE")
    count=$(wc -w <<< "$old")
    [ "$count" -gt 0 ] || { echo "rolling-update.sh: no replica of $SERVICE runs" >&2; exit 1; }
    $COMPOSE up -d --no-build --no-deps --no-recreate --scale "$SERVICE=$((2 * count))" "$SERVICE"
    new=$($COMPOSE ps -q "$SERVICE" | grep -vxF "$old")
    if ! await_health $new; then
        echo "rolling-update.sh: the new replicas do not get healthy, the old ones go on; the log of one of them:" >&2
        $DOCKER logs --tail 20 "$(head -n 1 <<< "$new")" >&2 || true
        remove $new
        exit 1
    fi
    remove $old
    echo "rolling-update.sh: $count replicas of $SERVICE are new"
}

# await_health CONTAINER ...: wait until all are healthy; say no where one is not in time, or has ended.
await_health() {
    local deadline=$((SECONDS + ${UPDATE_PATIENCE:-180})) container
    for container in "$@"; do
        until [ "$($DOCKER inspect --format '{{.State.Health.Status}}' "$container")" = healthy ]; do
            [ "$SECONDS" -lt "$deadline" ] || return 1
            [ "$($DOCKER inspect --format '{{.RestartCount}}' "$container")" -lt 3 ] || return 1
            sleep 0.5
        done
    done
}

# remove CONTAINER ...: let them drain, one after the other, and take them away.
remove() {
    local container
    for container in "$@"; do
        $DOCKER stop --time 40 "$container" > /dev/null
        $DOCKER rm "$container" > /dev/null
    done
}

main "$@"
