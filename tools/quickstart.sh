#!/usr/bin/env bash
# The whole of mmkd, small: an environment, data, a FairMOT student and the same student with a
# DINOv2 teacher, their scores side by side, and a video of each.
#
#   tools/quickstart.sh [--teacher random|timm|FILE] [--out DIR] [--epochs N] ...
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

venv=${MMKD_VENV:-$root/.venv}
case " $* " in
    *' --help '* | *' -h '*) ;;
    *) MMKD_VENV=$venv "$root/tools/setup_env.sh" --stack modern ;;
esac
python=$venv/bin/python
[ -x "$python" ] || python=python3 # --help, before there is an environment
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" "$root/tools/quickstart.py" "$@"
