#!/usr/bin/env bash
# Runs the whole SDST chain of a table (general teacher, specialists, students, comparison) and goes
# on where it stopped: tools/sdst.sh CONFIG_TABLE GPUS [arguments of tools/misc/run_chain.py].
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: tools/sdst.sh CONFIG_TABLE GPUS [--only RUN ...] [--list]" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=python
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
    # Nobody activated an environment: ours, or else what there is.
    command -v python >/dev/null || python=python3
    [ ! -x "$root/.venv/bin/python" ] || python=$root/.venv/bin/python
fi
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" "$root/tools/misc/run_chain.py" "$@"
