#!/bin/sh
# Make the environments of the peer servers, runs/peers/NAME: all of them, or those that are named.
#
#   benchmarks/peers/setup.sh [litserve bentoml ray torchserve pytriton mlserver plain]
#
# What a peer brings itself comes first on its path. What it does not bring (torch, torchvision, safetensors, ...) it
# takes from the project's own environment, so that all run the same arithmetic and no torch is installed twice.
# A peer that cannot be installed is told, and the others go on. Nothing here is needed to run the service.
set -eu

cd "$(dirname "$0")/../.."
ours=.venv/bin/python
[ -x "$ours" ] || { echo "setup.sh: $ours is missing; run 'make test' or 'make serve' first" >&2; exit 1; }

packages_of() {
    case $1 in
        litserve)   echo "litserve==0.2.19" ;;
        bentoml)    echo "bentoml==1.4.40" ;;
        ray)        echo "ray[serve]==2.60.0" ;;
        # 0.12.0 does not say that it needs PyYAML, without which its worker dies.
        torchserve) echo "torchserve==0.12.0 torch-model-archiver==0.12.0 PyYAML" ;;
        pytriton)   echo "nvidia-pytriton==0.7.0" ;;
        mlserver)   echo "mlserver==1.7.1" ;;
        plain)      echo "fastapi uvicorn[standard]" ;;
        *)          return 1 ;;
    esac
}

make_environment() {
    folder=runs/peers/$1
    rm -rf "$folder"
    "$ours" -m venv "$folder" || return 1
    # shellcheck disable=SC2046  # one word a package
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check $(packages_of "$1") || return 1
    "$folder/bin/python" -m pip freeze >"$folder/installed.txt" || return 1
    # After pip, which would otherwise take the project's packages for the peer's; a folder in a .pth file comes last.
    theirs=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$ours" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$theirs/project.pth"
}

failed=
for name in ${*:-plain litserve bentoml ray torchserve pytriton mlserver}; do
    packages_of "$name" >/dev/null || { echo "setup.sh: no peer is called $name" >&2; exit 2; }
    started=$(date +%s)
    if make_environment "$name"; then
        echo "$name: $(($(date +%s) - started)) s, $(du -sm "runs/peers/$name" | cut -f1) MB"
    else
        rm -rf "runs/peers/$name"
        failed="$failed $name"
    fi
done
[ -z "$failed" ] || { echo "setup.sh: could not be installed, see above:$failed" >&2; exit 1; }
