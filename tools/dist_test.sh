#!/usr/bin/env bash
# Tests on several GPUs, called as mmtrack's or as mmdet's script:
#   tools/dist_test.sh CONFIG GPUS --checkpoint CHECKPOINT [arguments of tools/test.py]
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Several nodes: NNODES, NODE_RANK, MASTER_ADDR and PORT, see tools/launch.sh.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
case ${2:-} in
    '')
        echo "usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
        exit 2
        ;;
    *[!0-9]*) exec "$here/launch.sh" test.py "${3:-}" "$1" "$2" --launcher pytorch "${@:4}" ;;
    *) exec "$here/launch.sh" test.py "$2" "$1" --launcher pytorch "${@:3}" ;;
esac
