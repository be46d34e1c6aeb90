#!/usr/bin/env bash
# Runs mmkd's tests; see usage below.
set -euo pipefail

usage() {
    cat <<'END'
usage: tools/run_tests.sh [--stack all|modern|stock] [--quick] [-- PYTEST_OPTIONS]

Makes the environments that are missing (tools/setup_env.sh) and runs, as CI does, ruff and every
test on the modern stack, then every test on the stock one.

  --stack NAME   only one of the two stacks
  --quick        the modern stack only, without ruff and without the tests marked slow
  -- OPTIONS     for pytest, e.g. -- tests/test_models -k decode

Variables: MMKD_VENV, the place of the environment (with both stacks: of the modern one; the stock
one is beside it, ending in -stock), and those of tools/setup_env.sh.
END
}

fail() {
    echo "error: $*" >&2
    exit 2
}

stacks='modern stock' quick=''
while [ $# -gt 0 ]; do
    case $1 in
        --stack) [ $# -gt 1 ] || fail '--stack needs a name: all, modern or stock'; stacks=$2; shift 2 ;;
        --stack=*) stacks=${1#*=}; shift ;;
        --quick) quick=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        --) shift; break ;;
        *) usage >&2; fail "unknown argument '$1'; pytest's own go after --" ;;
    esac
done
case $stacks in
    all) stacks='modern stock' ;;
    modern | stock | 'modern stock') ;;
    *) fail "there is no stack '$stacks'; choose all, modern or stock" ;;
esac
[ -z "$quick" ] || stacks=modern

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${MMKD_VENV:-} in '' | /*) ;; *) MMKD_VENV=$PWD/$MMKD_VENV ;; esac
cd "$root"
cores=$(nproc 2>/dev/null || echo 1)
workers=$((cores < 8 ? cores : 8))
# One process a core: torch's own threads would only get into each other's way.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Whatever checkout the environment's editable install points to, this one is tested.
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

status=0 summary=''
for stack in $stacks; do
    venv=${MMKD_VENV:-$root/.venv}
    if [ "$stack" = stock ] && { [ -z "${MMKD_VENV:-}" ] || [ "$stacks" != stock ]; }; then
        venv=$venv-stock
    fi
    MMKD_VENV=$venv tools/setup_env.sh --stack "$stack"
    python=$venv/bin/python
    if [ "$stack" = modern ] && [ -z "$quick" ]; then
        echo "== ruff"
        "$python" -m ruff check . || status=1
        "$python" -m ruff format --check . || status=1
        [ $status = 0 ] || summary="ruff: see above"$'\n'
    fi
    echo "== pytest on the $stack stack, $workers at a time"
    options=()
    # A file stays on one worker, which makes its fixtures once.
    [ "$workers" = 1 ] || options+=(-n "$workers" --dist loadfile --no-loadscope-reorder)
    [ -z "$quick" ] || options+=(-m 'not slow')
    result=0
    # The environment's own programs (ninja, torchrun, tensorboard) come first.
    PATH=$venv/bin:$PATH "$python" -m pytest -q "${options[@]}" "$@" 2>&1 | tee "$log" || result=$?
    [ $result = 0 ] || status=1
    summary="$summary$stack: $(tail -n 1 "$log")"$'\n'
done
printf '== results\n%s' "$summary"
exit $status
