#!/usr/bin/env bash
# Deploy the compose file as a stack of a Docker Swarm, or update the one that runs:
#   docker/swarm/deploy.sh [STACK]        segserve, unless another name is given
# The variables are those of docker-compose.yml, and REPLICAS (2), SERVICES ("gateway segment"; prometheus and grafana may
# be added), PUBLISH (8000; on every address of every node). Images must be where every node pulls from.
set -euo pipefail
cd "$(dirname "$0")/../.."

DOCKER=${DOCKER:-docker}
COMPOSE=${COMPOSE:-$($DOCKER compose version > /dev/null 2>&1 && echo "$DOCKER compose" || echo docker-compose)}
FILES="--file docker-compose.yml --file docker/swarm/stack.yml"
export PUBLISH=${PUBLISH:-8000} PUBLISH_PROMETHEUS=${PUBLISH_PROMETHEUS:-9090} PUBLISH_GRAFANA=${PUBLISH_GRAFANA:-3000}

[ "$("$DOCKER" info --format '{{.Swarm.ControlAvailable}}')" = true ] ||
    { echo "deploy.sh: this engine manages no swarm (docker swarm init)" >&2; exit 1; }
composed=$($COMPOSE $FILES --profile monitoring config --format json 2> /dev/null || true)
# The older docker-compose knows no --format, says so, and calls that a success.
[ -n "$composed" ] || composed=$($COMPOSE $FILES --profile monitoring config)
python3 docker/swarm/stack_file.py ${SERVICES:-gateway segment} <<< "$composed" |
    "$DOCKER" stack deploy --resolve-image "${RESOLVE_IMAGE:-always}" --compose-file - "${1:-segserve}"
