#!/usr/bin/env bash
# Trains through Slurm: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR GPUS [arguments of
# tools/train.py]. GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS are for srun.
set -euo pipefail
if [ $# -lt 5 ]; then
    echo "usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
gpus=$5
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# shellcheck disable=SC2086  # SRUN_ARGS are words
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec srun \
    --partition="$1" \
    --job-name="$2" \
    --gres="gpu:$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$root/tools/train.py" "$3" --work-dir "$4" --launcher slurm "${@:6}"
