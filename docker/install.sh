#!/bin/sh
# Install packages into the virtual environment of the image, with the pip of the installer stage.
#   docker/install.sh ARGUMENTS-OF-PIP-INSTALL
# What it downloads is kept in a cache of the builder, which is no layer. pip's configuration and its CA may come as build secrets; neither is left in a layer.
set -eu
if [ -s /run/secrets/pip.conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip.conf; fi
if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi
export PIP_CACHE_DIR=/var/cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
exec /opt/installer/bin/python -m pip --python "${TARGET_PYTHON:-/opt/segserve/bin/python}" install --progress-bar off "$@"
