#!/usr/bin/env bash
# The whole of mmkd, small: an environment, data, a FairMOT student and the same student with a
# DINOv2 teacher, their scores side by side, and a video of each.
#
#   tools/quickstart.sh [--teacher random|timm|FILE] [--out DIR] [--epochs N] ...
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${MMKD_VENV:-.venv}
case " $* " in
    *' --help '* | *' -h '*) ;;
    *) MMKD_VENV=$venv tools/setup_env.sh --stack modern ;;
esac
python=$venv/bin/python
[ -x "$python" ] || python=python3 # --help, before there is an environment
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} exec "$python" tools/quickstart.py "$@"
