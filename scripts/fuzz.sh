#!/usr/bin/env bash
# Fuzzes the capture readers, the parsers and the topology loader for a bounded time: a copy of the tree, built by clang with AddressSanitizer, UBSan
# and libFuzzer's coverage, driven by atheris.  What is found that crashes, hangs or disagrees lies in build/fuzz/found, and the exit code is 1.
#
# usage: scripts/fuzz.sh PYTHON [SECONDS] [TARGET...]    (from the top of the checkout; `make fuzz` does it; needs clang; 60 s a target by default)
#
# FUZZ_KEEP=1 writes the minimised corpus back to tests/fuzz/corpus.  Seeds are that corpus, examples/, and $VSW_CAPTURES or ../shared/captures.
set -euo pipefail
python=$(realpath -s "$1")
seconds=${2:-60}
shift $(($# < 2 ? $# : 2))
targets=("${@:-captures}")
[ $# -gt 0 ] || targets=(captures frames topology)
command -v clang >/dev/null || { echo "fuzz.sh: needs clang (apt-get install -y clang)" >&2; exit 2; }

here=$PWD
tree=$PWD/build/fuzz/tree
found=$PWD/build/fuzz/found
captures=${VSW_CAPTURES:-$PWD/../shared/captures}
mkdir -p "$found"
scripts/copy_tree.sh "$tree"
cd "$tree"
CC=clang VSW_FUZZ=1 "$python" setup.py -q build_ext --inplace -j "${JOBS:-2}"

preload=$("$python" -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:handle_abort=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export PYTHONMALLOC=malloc PYTHONPATH=$tree VSW_SANITIZED=1

fuzz() { # TARGET ARGUMENT...
    local target=$1
    shift
    # To merge, libFuzzer starts the script itself.
    PATH=$(dirname "$python"):$PATH VSW_FUZZ_TARGET=$target LD_PRELOAD=$preload "$python" scripts/fuzz.py "$@" -rss_limit_mb=4096 -timeout=20 -max_len=4096 -len_control=0
}

for target in "${targets[@]}"; do
    work=$here/build/fuzz/corpus/$target
    mkdir -p "$work" "tests/fuzz/corpus/$target"
    seeds=$here/build/fuzz/seeds/$target
    rm -rf "$seeds"
    mkdir -p "$seeds"
    # The frames' seeds are made by the plain build: that of this tree waits for the sanitizer to be loaded.
    extra=()
    case $target in
    captures)
        head -c 4000 "$here/examples/two-vlans.pcapng" >"$seeds/example"
        [ ! -d "$captures" ] || find "$captures" -name '*.pcap*' -size -4k -exec cp -t "$seeds" {} +
        ;;
    topology)
        find "$here/examples" -name '*.toml' -size -8 -exec cp -t "$seeds" {} +
        # The words that a topology may hold.
        (cd "$here" && PYTHONPATH=$here "$python" -m vsw check --schema) | grep -o '"[a-z0-9_+-]*"' | sort -u >"$here/build/fuzz/words"
        extra=(-dict="$here/build/fuzz/words")
        ;;
    frames)
        (cd "$here" && PYTHONPATH=$here "$python" - "$here/examples/two-vlans.pcapng" "$seeds") <<'SEEDS'
import sys
from pathlib import Path
from tests.fuzz.targets import frame_seeds
for number, content in enumerate(frame_seeds(Path(sys.argv[1]))):
    (Path(sys.argv[2]) / str(number)).write_bytes(content)
SEEDS
        ;;
    esac
    printf '\n==> %s for %s s\n' "$target" "$seconds"
    fuzz "$target" -max_total_time="$seconds" -print_final_stats=1 "${extra[@]}" -artifact_prefix="$found/$target-" "$work" "tests/fuzz/corpus/$target" "$seeds" \
        >"$here/build/fuzz/$target.log" 2>&1 || { tail -40 "$here/build/fuzz/$target.log"; exit 1; }
    grep -E 'cov: [0-9]+ .*DONE|DONE.*cov|number_of_executed_units|average_exec_per_sec' "$here/build/fuzz/$target.log"

    kept=$here/build/fuzz/kept/$target
    rm -rf "$kept"
    mkdir -p "$kept"
    fuzz "$target" -set_cover_merge=1 "$kept" "tests/fuzz/corpus/$target" "$work" "$seeds" >"$here/build/fuzz/$target-merge.log" 2>&1 \
        || { tail -40 "$here/build/fuzz/$target-merge.log"; exit 1; }
    printf 'minimised corpus: %s files, %s\n' "$(find "$kept" -type f | wc -l)" "$(du -sh --apparent-size "$kept" | cut -f 1)"
    if [ "${FUZZ_KEEP:-}" = 1 ]; then
        rm -rf "$here/tests/fuzz/corpus/$target"
        mkdir -p "$here/tests/fuzz/corpus/$target"
        find "$kept" -type f | while read -r file; do
            cp "$file" "$here/tests/fuzz/corpus/$target/$(basename "$file" | head -c 12).bin"
        done
    fi
done
