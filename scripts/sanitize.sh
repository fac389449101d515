#!/usr/bin/env bash
# Builds a copy of the tree with AddressSanitizer and UBSan and runs the test suite on it.
# Raw pointers bypass Cython's bounds checks: this build is the net under them.
#
# usage: scripts/sanitize.sh PYTHON [PYTEST ARGUMENT...]    (from the top of the checkout; `make sanitize` does it)
set -euo pipefail
python=$(realpath -s "$1")
shift
jobs=${JOBS:-2}
tree=$PWD/build/sanitize
captures=${VSW_CAPTURES:-$PWD/../shared/captures}

scripts/copy_tree.sh "$tree"
cd "$tree"
VSW_SANITIZE=1 VSW_JOBS=$jobs "$python" setup.py -q build_ext --inplace -j "$jobs"

# Programs of others are started without the sanitizer, which some of them do not survive: behind these names stand they themselves, with the PATH of
# before (ccache looks there for the compiler, and would find what called it).
clean=$tree/clean
mkdir -p "$clean"
for program in capinfos chromedriver chromium dumpcap editcap tcpdump tshark cc gcc qemu-img qemu-io qemu-nbd qemu-storage-daemon qemu-system-x86_64 \
    nbdcopy nbdinfo nbdkit fio ovs-appctl ovs-ofctl ovs-vsctl ovs-vswitchd ovsdb-client ovsdb-server ovsdb-tool iscsi-inq iscsi-ls iscsi-test-cu \
    tgtadm tgtd valgrind; do
    if real=$(command -v "$program"); then
        printf '#!/bin/sh\nunset LD_PRELOAD\nPATH=%q\nexec %s "$@"\n' "$PATH" "$real" >"$clean/$program"
        chmod +x "$clean/$program"
    fi
done
export PATH=$clean:$PATH

# An interpreter without the sanitizer loads the library first; libstdc++ before anything throws through it.
preload=
for library in libasan.so libubsan.so libstdc++.so.6; do
    preload="$preload $(gcc -print-file-name=$library)"
done
export LD_PRELOAD=${preload# }
# The interpreter itself never frees all; pymalloc would hide overruns of bytes objects.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export PYTHONMALLOC=malloc PYTHONPATH=$tree VSW_SANITIZED=1 VSW_PATIENCE=10 VSW_CAPTURES=$captures
"$python" - "$tree" <<'CHECK'
import ctypes, sys
from pathlib import Path
import vsw.datapath.source as built
assert Path(built.__file__).is_relative_to(sys.argv[1]), f"the sanitized build is not what is imported: {built.__file__}"
assert b"__asan_report_load" in Path(built.__file__).read_bytes(), "the extensions are not instrumented"
assert hasattr(ctypes.CDLL(None), "__asan_init"), "the sanitizer is not loaded"
CHECK
exec "$python" -m pytest -n "$jobs" --dist worksteal --benchmark-disable -p no:cacheprovider "$@"
