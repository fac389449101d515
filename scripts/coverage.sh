#!/usr/bin/env bash
# What the suite reaches: a copy of the tree, built for gcov, on which the quick suite runs.
#
# usage: scripts/coverage.sh PYTHON [PYTEST ARGUMENT...]    (from the top of the checkout; `make coverage` does it; some minutes: nothing is optimised)
#
# Prints how many lines of .py and .pyx files ran, and lines and branches of the C headers.  By file, with the numbers of lines that did not run, it
# stands in build/coverage/reached.txt.  Of the whole suite less than 95 % of these lines or 90 % of these branches is a failure.
set -euo pipefail
python=$(realpath -s "$1")
shift
jobs=${JOBS:-2}
tree=$PWD/build/coverage
captures=${VSW_CAPTURES:-$PWD/../shared/captures}

scripts/copy_tree.sh "$tree"
cd "$tree"
VSW_COVERAGE=1 VSW_JOBS=$jobs "$python" setup.py -q build_ext --inplace -j "$jobs"

# What tests compile of the headers counts too; the compiler notes beside these what it counts.
mkdir -p "$tree/probes"
export CFLAGS="--coverage -dumpdir $tree/probes/" PYTHONPATH=$tree VSW_PATIENCE=10 VSW_CAPTURES=$captures
failed=0
least=()
[ $# -gt 0 ] || least=(--least 95 90)
"$python" -m coverage run -m pytest -q -n "$jobs" --dist worksteal --benchmark-disable -p no:cacheprovider "$@" || failed=$?

"$python" -m coverage combine --quiet
"$python" -m coverage json --quiet
"$python" scripts/reached.py "$tree" --missed "${least[@]}" >reached.txt || failed=$?
tail -4 reached.txt
echo "$tree/reached.txt"
exit "$failed"
