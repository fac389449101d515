#!/usr/bin/env bash
# Copies the checkout's sources to where another kind of build is made of them: nothing built, no caches, no history.
#
# usage: scripts/copy_tree.sh DIRECTORY    (from the top of the checkout)
#
# What was built there the last time stays, and setuptools builds anew what changed; everything else there goes.
set -euo pipefail
mkdir -p "$1"
find "$1" -mindepth 1 -not -type d -not -path "$1/build/*" -not -name '*.so' -not -path "$1/vsw/*.c" -delete
find "$1" -name '*.gcda' -delete
tar -cf - --exclude=./build --exclude=./dist --exclude=./.venv --exclude=./.git --exclude='*.so' --exclude='./vsw/*.c' --exclude=__pycache__ \
    --exclude='./.*_cache' --exclude=./.hypothesis --exclude='*.egg-info' . | tar -xf - -C "$1"
