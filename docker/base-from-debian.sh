#!/usr/bin/env bash
# Make the images that others pull, from Debian's packages, on a machine that reaches a Debian mirror and no registry:
#   docker/base-from-debian.sh           all of them
#   docker/base-from-debian.sh python    local/python:3.11, for BASE_IMAGE
#   docker/base-from-debian.sh haproxy   local/haproxy:2.6, for HAPROXY_IMAGE
#   docker/base-from-debian.sh prometheus    local/prometheus:2.42, for PROMETHEUS_IMAGE
# It needs root, debootstrap and a Docker engine. MIRROR is another Debian mirror, DOCKER another client.
set -euo pipefail

DOCKER=${DOCKER:-docker}
SUITE=bookworm

main() {
    command -v debootstrap > /dev/null || { echo "base-from-debian.sh: debootstrap is not installed (apt-get install debootstrap)" >&2; exit 1; }
    [ "$(id -u)" = 0 ] || { echo "base-from-debian.sh: debootstrap needs root" >&2; exit 1; }
    for wanted in "${@:-all}"; do
        case "$wanted" in
            python) make_image local/python:3.11 python3,python3-venv,ca-certificates ;;
            haproxy) make_image local/haproxy:2.6 haproxy ;;
            prometheus) make_image local/prometheus:2.42 prometheus,ca-certificates 'install -d -o nobody -g nogroup /prometheus' ;;
            all) main python haproxy prometheus ;;
            *) echo "base-from-debian.sh: $wanted is none of python, haproxy, prometheus" >&2; exit 2 ;;
        esac
    done
}

# make_image NAME PACKAGES [COMMAND]: an image with these packages and nothing that they do not need, changed by COMMAND.
make_image() (
    name=$1 packages=$2 command=${3:-true}
    folder=$(mktemp --directory)
    trap 'rm -rf "$folder"' EXIT
    echo "base-from-debian.sh: making $name"
    debootstrap --variant=minbase --include="$packages" "$SUITE" "$folder/system" ${MIRROR:-} > "$folder/log" 2>&1 ||
        { tail -n 20 "$folder/log" >&2; exit 1; }
    chroot "$folder/system" sh -c "$command"
    rm -rf "$folder"/system/var/cache/apt/* "$folder"/system/var/lib/apt/lists/*
    tar --directory "$folder/system" --create . | "$DOCKER" import - "$name" > /dev/null
)

main "$@"
