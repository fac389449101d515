#!/usr/bin/env bash
# Copies the checkout's sources to where another kind of build is made of them: nothing built, no caches, no history.
#
# usage: scripts/copy_tree.sh DIRECTORY    (from the top of the checkout; what lies there already stays, and is written over where it has the same name)
set -euo pipefail
mkdir -p "$1"
tar -cf - --exclude=./build --exclude=./dist --exclude=./.venv --exclude=./.git --exclude='*.so' --exclude='./vsw/*.c' --exclude=__pycache__ \
    --exclude='./.*_cache' --exclude=./.hypothesis --exclude='*.egg-info' . | tar -xf - -C "$1"
