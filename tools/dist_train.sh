#!/usr/bin/env bash
# Trains on several GPUs: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py].
# Several nodes: NNODES, NODE_RANK, MASTER_ADDR and PORT, see tools/launch.sh.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
exec "$(dirname "${BASH_SOURCE[0]}")/launch.sh" train.py "$2" "$1" --launcher pytorch "${@:3}"
