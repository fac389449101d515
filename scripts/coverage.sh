#!/usr/bin/env bash
# What the suite reaches: a copy of the tree, built with line tracing of .pyx files and gcov of the C headers.
#
# usage: scripts/coverage.sh PYTHON [PYTEST ARGUMENT...]    (from the top of the checkout; `make coverage` does it; many minutes: nothing is optimised)
#
# Prints the lines of .py and .pyx files that ran (coverage.py with Cython's plugin), then lines and branches of the C headers (gcov).
set -euo pipefail
python=$(realpath -s "$1")
shift
jobs=${JOBS:-2}
tree=$PWD/build/coverage

rm -rf "$tree"
mkdir -p "$tree"
tar -cf - --exclude=./build --exclude=./dist --exclude=./.venv --exclude=./.git --exclude='*.so' --exclude='./vsw/*.c' --exclude=__pycache__ \
    --exclude='./.*_cache' --exclude=./.hypothesis --exclude='*.egg-info' . | tar -xf - -C "$tree"
cd "$tree"
VSW_COVERAGE=1 VSW_JOBS=$jobs "$python" setup.py -q build_ext --inplace -j "$jobs"
export PYTHONPATH=$tree VSW_COVERED=1
# One process: tracing of compiled code and workers of xdist do not go together.
"$python" -m coverage run -m pytest -q --benchmark-disable -p no:cacheprovider "$@" || echo "coverage.sh: some tests failed under tracing"
"$python" -m coverage report --skip-empty --precision=1 | tee coverage.txt | tail -1
"$python" scripts/headers.py "$tree"
echo "$tree/coverage.txt"
