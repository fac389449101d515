#!/usr/bin/env bash
# Proves the README on a bare machine: a Debian root with nothing in it, its line of packages, its two commands as an ordinary
# user, and then the way of a release: source distribution -> wheel -> import from another directory.
#
# usage: scripts/fresh.sh    (as root; needs debootstrap and git; about ten minutes, 1.5 GB below TMPDIR, all of it removed at the end)
#
# MIRROR and SUITE choose where Debian comes from; by default where apt of this machine takes it from, and bookworm.  What pip of
# this machine is told about indexes, certificates and constraints holds in the new root too.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
    echo "fresh.sh: needs root, to make the new root" >&2
    exit 2
fi
for tool in debootstrap git unshare; do
    command -v "$tool" >/dev/null || { echo "fresh.sh: needs $tool" >&2; exit 2; }
done
# The work is done in namespaces of its own: however it ends, its mounts and its processes end with it, and only files are left to remove.
if [ -z "${VSW_FRESH_ROOT:-}" ]; then
    export VSW_FRESH_ROOT
    VSW_FRESH_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/vsw-fresh.XXXXXX")
    worker=
    remove() {
        [ -z "$worker" ] || kill -KILL "$worker" 2>/dev/null || true
        wait
        for _ in 1 2 3 4 5; do
            rm -rf --one-file-system "$VSW_FRESH_ROOT" && return
            sleep 1
        done
    }
    trap remove EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    unshare --mount --propagation private --pid --fork --kill-child "$0" "$@" &
    worker=$!
    wait "$worker"
    exit
fi

cd "$(dirname "$0")/.."
SUITE=${SUITE:-bookworm}
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Created-By: Packages' | awk 'NR == 1')}
[ -n "$MIRROR" ] || { echo "fresh.sh: apt of this machine knows no Debian mirror; set MIRROR" >&2; exit 2; }

root=$VSW_FRESH_ROOT/root
mkdir "$root"
chmod 755 "$VSW_FRESH_ROOT" "$root"

step() {
    printf '\n==> %s (%d s)\n' "$1" "$SECONDS"
}

step "a bare $SUITE"
timeout 900 debootstrap --variant=minbase "$SUITE" "$root" "$MIRROR" >"$root.log" 2>&1 || { tail -20 "$root.log"; exit 1; }
mount -t proc proc "$root/proc"
mkdir -p "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mkdir -p "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"

# What this machine tells pip, as variables; the files and directories that are named there come along.
settings=()
while IFS= read -r line; do
    key=${line%%=*}
    value=${line#*=}
    value=${value//\\n/ }
    key=${key//-/_}
    words=()
    for word in $value; do
        path=${word#file://}
        if [[ $path = /* && -d $path ]]; then
            # The files of an index lie beside its pages.
            [ "$(basename "$path")" != simple ] || path=$(dirname "$path")
            mkdir -p "$root$path"
            mount --bind "$path" "$root$path"
            mount -o remount,bind,ro "$root$path"
        elif [[ $path = /* && -f $path ]]; then
            # Under a name of its own: a package that is installed later may bring a file of the same name.
            word=/etc/fresh/${#settings[@]}-$(basename "$path")
            install -D -m 644 "$path" "$root$word"
        fi
        words+=("$word")
    done
    settings+=("PIP_${key^^}=${words[*]}")
done < <(python3 -m pip config list 2>/dev/null | sed -n "s/^[^.]*\\.\\([a-z-]*\\)='\\(.*\\)'\$/\\1=\\2/p")
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || settings+=("$name=${!name}")
done

inside() { # SECONDS USER COMMAND...
    local limit=$1 user=$2
    shift 2
    # A session of its own: no command may wait for a terminal.
    timeout "$limit" chroot --userspec="$user" "$root" env -i "HOME=$([ "$user" = root ] && echo /root || echo "/var/$user")" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        "${settings[@]}" "$@" </dev/null
}

inside 60 root useradd --create-home --home-dir /var/reader --shell /bin/bash reader
mkdir "$root/var/reader/vsw"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- -cf - | tar -xf - -C "$root/var/reader/vsw"
inside 60 root chown -R reader:reader /var/reader

packages=$(grep -m 1 -o 'apt-get install -y [a-z0-9 -]*' README.md)
step "what is missing is said"
inside 600 root sh -euc 'apt-get update -qq; apt-get install -y -qq --no-install-recommends make >/dev/null 2>&1'
said=$(inside 60 reader make -s -C /var/reader/vsw demo 2>&1) && { echo "make demo ran without its packages"; exit 1; }
printf '%s\n' "$said"
grep -qxF "$packages" <<<"$said" || { echo "the Makefile does not print: $packages"; exit 1; }

step "$packages"
inside 900 root sh -euc "$packages >/dev/null 2>&1"

step "make demo"
inside 900 reader make -C /var/reader/vsw demo
step "make test"
inside 1500 reader make -C /var/reader/vsw test

step "source distribution -> wheel -> import"
inside 900 reader bash -euo pipefail -c '
    cd ~/vsw
    .venv/bin/python -c "import setuptools.build_meta as backend; backend.build_sdist(\"/var/reader/dist\")" >/dev/null 2>&1
    cd ~/dist
    python3 -m venv ~/other
    ~/other/bin/python -m pip -q wheel --no-deps --wheel-dir . vsw_switch-*.tar.gz
    ~/other/bin/python -m pip -q install vsw_switch-*.whl
    ls -l
    cd /
    ~/other/bin/python -c "import vsw, sys; assert \"other\" in vsw.__file__, vsw.__file__; [getattr(vsw, name) for name in vsw.__all__]; print(vsw.__file__)"
    ~/other/bin/python -m vsw --help
    ~/other/bin/vsw replay ~/vsw/examples/two-vlans.toml ~/vsw/examples/two-vlans.pcapng --json
'
step "make test, from the source distribution"
inside 1500 reader bash -euo pipefail -c '
    mkdir ~/unpacked
    tar -xzf ~/dist/vsw_switch-*.tar.gz -C ~/unpacked --strip-components=1
    make -s -C ~/unpacked test'
step "all of it works"
