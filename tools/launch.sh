#!/usr/bin/env bash
# Starts one process per GPU with torchrun: tools/launch.sh SCRIPT GPUS [SCRIPT'S ARGUMENTS].
# tools/dist_train.sh and tools/dist_test.sh call it. Several nodes: NNODES, NODE_RANK, MASTER_ADDR
# and PORT, the same on all but for NODE_RANK.
set -euo pipefail

fail() {
    echo "error: $*" >&2
    exit 2
}

script=$1 gpus=$2
shift 2
case $gpus in '' | 0 | *[!0-9]*) fail "the number of GPUs is a positive number, not '$gpus'" ;; esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=python
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
    # Nobody activated an environment: ours, or else what there is.
    command -v python >/dev/null || python=python3
    [ ! -x "$root/.venv/bin/python" ] || python=$root/.venv/bin/python
fi

nodes=${NNODES:-1}
if [ "$nodes" = 1 ]; then
    address=${MASTER_ADDR:-127.0.0.1}
    # Two jobs on one machine shall not meet on torch's default port.
    port=${PORT:-$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}
else
    address=${MASTER_ADDR:-}
    [ -n "$address" ] || fail "NNODES=$nodes needs MASTER_ADDR, the address of the node with NODE_RANK=0"
    [ -n "${NODE_RANK:-}" ] || fail "NNODES=$nodes needs NODE_RANK, 0 to $((nodes - 1))"
    port=${PORT:-29500}
fi

PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m torch.distributed.run \
    --nnodes="$nodes" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="$address" \
    --master_port="$port" \
    --nproc_per_node="$gpus" \
    "$root/tools/$script" "$@"
