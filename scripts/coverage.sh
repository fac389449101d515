#!/usr/bin/env bash
# What the suite reaches: a copy of the tree, built with line tracing of .pyx files and gcov of the C headers.
#
# usage: scripts/coverage.sh PYTHON [PYTEST ARGUMENT...]    (from the top of the checkout; `make coverage` does it; many minutes: nothing is optimised)
#
# Prints the lines of .py and .pyx files that ran (coverage.py with Cython's plugin), then lines and branches of the C headers (gcov).  All of it
# lies in build/coverage/coverage.txt and headers.txt.
set -euo pipefail
python=$(realpath -s "$1")
shift
jobs=${JOBS:-2}
tree=$PWD/build/coverage
captures=${VSW_CAPTURES:-$PWD/../shared/captures}

scripts/copy_tree.sh "$tree"
cd "$tree"
VSW_COVERAGE=1 VSW_JOBS=$jobs "$python" setup.py -q build_ext --inplace -j "$jobs"
export PYTHONPATH=$tree VSW_PATIENCE=10 VSW_CAPTURES=$captures
# What tests compile of the headers counts too; the compiler notes beside these what it counts.
mkdir -p "$tree/probes"
export CFLAGS="--coverage -dumpdir $tree/probes/"

# Tracing of compiled code and workers of xdist do not go together: each folder of tests is a process of its own, and what they counted is added up.
parts=()
options=()
for argument in "$@"; do
    if [ -e "$argument" ]; then parts+=("$argument"); else options+=("$argument"); fi
done
[ ${#parts[@]} -gt 0 ] || parts=(tests/*/ examples)
# The folders with the most tests first: the last process then waits for nobody.
mapfile -t parts < <(for part in "${parts[@]}"; do printf '%s %s\n' "$(find "$part" -name '*.py' -exec cat {} + | wc -l)" "$part"; done | sort -rn | cut -d ' ' -f 2-)
run() { # PART
    local code=0
    "$python" -m coverage run --parallel-mode -m pytest -q --benchmark-disable -p no:cacheprovider "${@:2}" "$1" >"$tree/$(tr / - <<<"$1").log" 2>&1 || code=$?
    # A folder of long tests only has nothing for the quick suite.
    if [ $code != 0 ] && [ $code != 5 ]; then
        echo "coverage.sh: some tests failed under tracing"
        tail -40 "$tree/$(tr / - <<<"$1").log"
    fi
    printf '%s: %s\n' "$1" "$(tail -1 "$tree/$(tr / - <<<"$1").log")"
}
export -f run
export python tree
printf '%s\0' "${parts[@]}" | xargs -0 -P "$jobs" -I '{}' bash -c 'run "$@"' run '{}' "${options[@]}"

"$python" -m coverage combine --quiet
"$python" -m coverage report --skip-empty --precision=1 >coverage.txt
"$python" scripts/headers.py "$tree" >headers.txt
tail -1 coverage.txt
tail -1 headers.txt
echo "$tree/coverage.txt $tree/headers.txt"
