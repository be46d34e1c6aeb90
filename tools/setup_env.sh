#!/usr/bin/env bash
# Makes the Python environment that mmkd runs in; see usage below.
set -euo pipefail

usage() {
    cat <<'END'
usage: tools/setup_env.sh [--stack modern|stock]

Makes a virtual environment with mmkd and everything it runs on, in numbered stages. A second call
takes seconds; a call after an interruption goes on with the stage that was interrupted.

  --stack modern   (default) today's torch, with mmtrack through mmkd's compat layer: .venv
  --stack stock    official packages inside mmtrack's own bounds, nothing patched: .venv-stock

Variables:
  MMKD_VENV     another place for the environment
  MMKD_PYTHON   the Python to make it with (3.11); otherwise python3.11 or python3 is looked for
  PIP_...       pip's own, e.g. PIP_INDEX_URL, PIP_FIND_LINKS (a wheel of mmcv saves compiling it)
  MAX_JOBS      how many files of mmcv to compile at once (default: one per core)
END
}

fail() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

stack=modern
while [ $# -gt 0 ]; do
    case $1 in
        --stack) [ $# -gt 1 ] || fail '--stack needs a name: modern or stock'; stack=$2; shift 2 ;;
        --stack=*) stack=${1#*=}; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "unknown argument '$1'" ;;
    esac
done
# What was measured on 2 cores: gigabytes of the finished environment with room to unpack the
# downloads, and minutes of compiling mmcv.
case $stack in
    modern) venv_name=.venv need_gb=9 compile_minutes=11 ;;
    stock) venv_name=.venv-stock need_gb=8 compile_minutes=5 ;;
    *) fail "there is no stack '$stack'; choose modern or stock" ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${MMKD_VENV:-$root/$venv_name}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
python=$venv/bin/python
pip=("$python" -m pip --disable-pip-version-check)
state=$venv/.mmkd
log=$state/setup.log
requirements=$root/requirements/$stack.txt
constraints=$root/requirements/$stack.constraints.txt
test_requirements=$root/requirements/tests.txt
pins=(-c "$requirements" -c "$test_requirements" -c "$constraints")
cores=$(nproc 2>/dev/null || echo 2)

# ---- what is needed of the machine ------------------------------------------------------------

find_python() { # sets base_python
    local found seen=''
    for base_python in ${MMKD_PYTHON:-python3.11 python3}; do
        # pyenv's shims exist for versions that are not active: only running one tells.
        found=$("$base_python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) ||
            continue
        case $found in
            3.11.*)
                "$base_python" -c 'import ensurepip, venv' 2>/dev/null ||
                    fail "$base_python cannot make virtual environments, it has no ensurepip." \
                        'On Debian and Ubuntu: apt install python3.11-venv'
                return
                ;;
            [0-2].* | 3.[0-9].* | 3.10.*) seen="$base_python is $found, too old" ;;
            *) seen="$base_python is $found, too new" ;;
        esac
    done
    fail "Python 3.11 is needed, the pinned packages are tested on no other: ${seen:-there is no ${MMKD_PYTHON:-python3.11 or python3}}." \
        'Install it, or name it: MMKD_PYTHON=/path/to/python3.11 tools/setup_env.sh'
}

need_space() { # folder gigabytes what variable-that-names-another-place
    local folder=$1 have
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    have=$(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$have" -ge "$2" ] ||
        fail "not enough space: $3 needs $2 GB, and $folder has $have GB free." \
            "Free some, or name another place: $4=/path/on/another/disk"
}

need_compiler() {
    local cxx=${CXX:-c++} headers
    command -v "${cxx%% *}" >/dev/null || command -v g++ >/dev/null ||
        fail "there is no C++ compiler ($cxx or g++), and no wheel of mmcv that fits: it has to be compiled." \
            'On Debian and Ubuntu: apt install g++. Or name a folder with such a wheel in PIP_FIND_LINKS.'
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    [ -e "$headers/Python.h" ] ||
        fail "Python's headers ($headers/Python.h) are missing, and mmcv has to be compiled." \
            'On Debian and Ubuntu: apt install python3.11-dev'
}

# ---- running a command ------------------------------------------------------------------------

child='' ticker=''
stop() {
    # The child leads a group of its own: pip's compilers end with it.
    [ -z "$child" ] || kill -- "-$child" 2>/dev/null || kill "$child" 2>/dev/null || true
    [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || true
}
trap stop EXIT
trap 'echo "interrupted: the next call goes on with this stage" >&2; exit 130' INT TERM HUP

last_output() { awk '/^\+ / { text = "" } { text = text $0 "\n" } END { printf "%s", text }' "$log"; }

explain() { # why the last command failed, where that can be told
    case $(last_output) in
        *'No space left on device'* | *'Disk quota exceeded'*)
            echo "There is no space left for the environment or for pip's temporary files in ${TMPDIR:-/tmp} (TMPDIR)." ;;
        *NewConnectionError* | *ConnectTimeout* | *'Name or service not known'* | *SSLError* | \
            *'failure in name resolution'* | *'Network is unreachable'* | *'Connection refused'* | \
            *ProxyError* | *'Read timed out'*)
            echo 'The package registry cannot be reached. Check the network, or name a registry or proxy (PIP_INDEX_URL, HTTPS_PROXY).' ;;
        *'No matching distribution found'*)
            echo 'The registry does not have this version for this machine (Linux x86-64 with Python 3.11 is tested).' ;;
        *libGL.so.1* | *libgthread*)
            echo 'OpenCV misses a system library. On Debian and Ubuntu: apt install libgl1 libglib2.0-0' ;;
        *)
            echo 'It ended with:'
            tail -n 12 "$log" | sed 's/^/    /' ;;
    esac
}

run() { # a command into the log, with a sign of life every minute
    local status=0 leader=''
    command -v setsid >/dev/null && leader=setsid
    echo "+ $*" >>"$log"
    $leader "$@" >>"$log" 2>&1 &
    child=$!
    (
        exec 9>&-
        minutes=0
        while sleep 60 >/dev/null 2>&1; do
            minutes=$((minutes + 1))
            echo "      ... $minutes min"
        done
    ) &
    ticker=$!
    wait "$child" || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    child='' ticker=''
    return $status
}

must() { run "$@" || fail "stage '$stage' failed. $(explain)" "The whole log: $log"; }

# ---- stages and their stamps ------------------------------------------------------------------

stage_text() { awk -v name="$1" '/^# stage / { on = ($3 == name) } on && !/^#/ && NF' "$requirements"; }
stage_options() { awk -v name="$1" '/^# stage / && $3 == name { $1 = $2 = $3 = ""; print }' "$requirements"; }

# A stage's key covers all that came before it: another torch means another mmcv.
key=$stack
extend_key() { key=$(printf '%s\n%s' "$key" "$1" | sha256sum | cut -c1-16); }
total=8 number=1 worked=''

begin() { # name what: false if that is done already
    stage=$1 number=$((number + 1)) began=$SECONDS
    [ "$(cat "$state/$stage.done" 2>/dev/null)" != "$key" ] || return 1
    worked=yes
    echo "[$number/$total] $2"
}

end() {
    echo "$key" >"$state/$stage.done"
    echo "      done in $((SECONDS - began)) s"
}

install_stage() { # name what
    extend_key "$(stage_text "$1")"
    begin "$1" "$2" || return 0
    stage_text "$1" >"$state/$1.in"
    # shellcheck disable=SC2046  # pip's options are words
    must "${pip[@]}" install $(stage_options "$1") "${pins[@]}" -r "$state/$1.in"
    end
}

# ---- mmcv, which may have to be compiled ------------------------------------------------------

mmcv=$(stage_text mmcv)
has_wheel() { run "${pip[@]}" install --dry-run --ignore-installed --no-deps --only-binary :all: "$mmcv"; }
loads() { run "$python" -c 'import mmcv.ops'; }

compile() { # pip's further options
    # Without our ninja on the PATH, torch would compile one file after the other.
    local settings=("MAX_JOBS=${MAX_JOBS:-$cores}" "PATH=$venv/bin:$PATH") wanted have
    # mmcv compiles for CUDA wherever torch sees a GPU, and fails if the toolkit is not torch's.
    wanted=$("$python" -c 'import torch; print(torch.cuda.is_available() and torch.version.cuda.split(".")[0])')
    have=$("${CUDA_HOME:+$CUDA_HOME/bin/}nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\).*/\1/p') || true
    if [ "$wanted" != False ] && [ "${FORCE_CUDA:-0}" = 0 ]; then
        if [ "$have" = "$wanted" ]; then
            echo '      with its CUDA operators, which takes several times as long'
        else
            echo "      for the CPU only: there is a GPU, but no toolkit of CUDA $wanted. mmkd's own models do not need more"
            settings+=(CUDA_VISIBLE_DEVICES=)
        fi
    fi
    # shellcheck disable=SC2046  # pip's options are words
    must env "${settings[@]}" "${pip[@]}" install $(stage_options mmcv) "${pins[@]}" "$@" "$mmcv"
}

install_mmcv() {
    extend_key "$mmcv"
    begin mmcv "$mmcv, whose operators mmtrack imports" || return 0
    local name=${mmcv%%==*} wheel='' minutes=$(((compile_minutes * 2 + cores - 1) / cores))
    if has_wheel; then
        wheel=yes
        echo '      a wheel was found: nothing to compile'
        must "${pip[@]}" install --only-binary "$name" "${pins[@]}" "$mmcv"
    fi
    if [ -z "$wheel" ] || ! loads; then
        need_compiler
        [ -z "$wheel" ] || echo '      but it was made for another torch and does not load'
        echo "      compiling takes about $minutes minutes on $cores cores ($compile_minutes on 2)"
        [ -n "$wheel" ] || compile
        # pip may have kept what it compiled against another torch in the past.
        loads || compile --no-cache-dir --force-reinstall --no-deps --no-binary "$name"
        must "$python" -c 'import mmcv.ops'
    fi
    end
}

# ---- the way through --------------------------------------------------------------------------

if [ "$(cat "$state/stack" 2>/dev/null || echo "$stack")" != "$stack" ]; then
    fail "$venv holds the $(cat "$state/stack") stack." "Name another place for $stack: MMKD_VENV=/another/place tools/setup_env.sh --stack $stack"
fi
has_venv() { [ -e "$state/venv.done" ] && "$python" -c 'import pip' 2>/dev/null; }
has_venv || find_python
if ! [ -e "$state/packages.done" ]; then
    [ ! -e "$state/torch.done" ] || need_gb=3 # the greater part is there
    need_space "$venv" "$need_gb" "the $stack environment" MMKD_VENV
    need_space "${TMPDIR:-/tmp}" 3 "pip's unpacking" TMPDIR
fi
mkdir -p "$state"
exec 9>"$state/lock"
# What an interrupted call started takes a moment to let go.
if command -v flock >/dev/null && ! flock -w 5 9; then
    echo 'another call works on this environment; waiting for it'
    flock 9
fi

stage=venv
if ! has_venv; then
    echo "[1/$total] virtual environment of the $stack stack in $venv"
    worked=yes
    rm -f "$state"/*.done "$log"
    must "$base_python" -m venv "$venv"
    echo "$stack" >"$state/stack"
    touch "$state/venv.done"
fi
extend_key "$(cat "$constraints")"
install_stage build 'setuptools, and what compiling needs'
# Told now, not after gigabytes are downloaded.
[ -e "$state/mmcv.done" ] || has_wheel || need_compiler
install_stage torch 'torch and torchvision, about 2.5 GB to download'
install_mmcv
install_stage packages "OpenMMLab's packages, and what mmtrack imports"
install_stage mmtrack 'mmtrack and mmcls'
extend_key "$(cat "$test_requirements")"
if begin tests 'pytest and ruff'; then
    must "${pip[@]}" install "${pins[@]}" -r "$test_requirements"
    end
fi
# The environment may have served another checkout, or this one before it was cloned afresh.
extend_key "$root$(cat "$root/setup.py" "$root/mmkd/version.py")"
[ -e "$root/mmkd/.mim/model-index.yml" ] || rm -f "$state/mmkd.done"
if begin mmkd 'mmkd itself, editable, and whether everything registers'; then
    must "${pip[@]}" install --no-deps --no-build-isolation -e "$root"
    must "$python" -W ignore -c '
import mmkd
from mmtrack.utils import register_all_modules

register_all_modules(init_default_scope=False)
from mmkd import registry

for name in ("MODELS", "DATASETS", "TRANSFORMS", "METRICS", "RUNNERS"):
    getattr(registry, name).import_from_location()
'
    end
fi
if [ -n "$worked" ]; then
    echo "the $stack environment is ready after $SECONDS s: source ${venv#"$PWD"/}/bin/activate"
else
    echo "the $stack environment is ready: $venv"
fi
