"""Opens, reads, writes, checks and repairs images whose metadata was changed at random; run as a process of its own, with little memory and time.

``hostile.py DIRECTORY FIRST LAST``: seeds FIRST to LAST (exclusive) over the images in DIRECTORY. What is no error that callers are told of ends it.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

MEMORY = 1 << 30
SECONDS = 240
EDGES = [0, 1, 2, 7, 255, 511, 512, 513, 4096, 65535, 65536, 1 << 21, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 48, 1 << 55, 1 << 56]
EDGES += [1 << 61, 1 << 62, (1 << 62) + 65536, (1 << 63) - 1, 1 << 63, (1 << 63) + 65536, (1 << 64) - 65536, (1 << 64) - 1]

#: Offset and width of the header's fields, and of the first extension.
FIELDS = [(8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8), (72, 8), (80, 8), (88, 8), (96, 4)]
FIELDS += [(100, 4), (104, 1), (112, 4), (116, 4)]


def mutate(image: bytearray, chance: random.Random) -> str:
    """Change up to four numbers of the image: most of them where metadata is known to be."""
    cluster = 1 << min(21, int.from_bytes(image[20:24], "big"))
    tables = [int.from_bytes(image[at : at + 8], "big") for at in (40, 48, 64)]
    told = []
    for _ in range(chance.choice([1, 1, 2, 4])):
        what = chance.random()
        if what < 0.4:
            at, width = chance.choice(FIELDS)
        elif what < 0.8:
            start = chance.choice(tables)
            if chance.random() < 0.5 and start + 8 <= len(image):  # a table below this one
                start = int.from_bytes(image[start : start + 8], "big") & 0xFF_FFFF_FFFF_FE00
            at, width = start + chance.choice([0, 0, 8, 8 * chance.randrange(64)]), 8
        else:
            at, width = chance.randrange(len(image) // 2) * 2, chance.choice([1, 2, 4, 8])
        if at + width > len(image):
            continue
        value = chance.choice([chance.choice(EDGES), chance.randrange(len(image) // cluster + 2) * cluster, chance.getrandbits(64)])
        if chance.random() < 0.5:
            value |= chance.choice([1 << 63, 1, 1 << 62, 3 << 62])
        image[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "big")
        told.append(f"{at}:{value:#x}")
    return " ".join(told)


def attempt(work: Callable[[], object]) -> bool:
    """True if it went well; false if it failed with an error that callers are told of."""
    from vsw.errors import ImageError, UsageError

    try:
        work()
    except (OSError, ImageError, UsageError):
        return False
    return True


def use(path: Path, chance: random.Random, read_only: bool) -> None:
    from vsw.disk.blocks import Qcow2Blocks
    from vsw.disk.blocks.qcow2.image import whole_map
    from vsw.disk.blocks.qcow2.snapshots import apply_snapshot, create_snapshot, delete_snapshot, list_snapshots

    blocks = Qcow2Blocks(path, read_only=read_only)
    try:
        size = blocks.size
        for _ in range(6):
            offset = chance.choice([0, chance.randrange(size + 1), max(0, size - 100_000)])
            length = min(100_000, size - offset)
            attempt(lambda: blocks.read(offset, length))  # noqa: B023
            attempt(lambda: blocks.extents(offset, min(size - offset, 64 << 20)))  # noqa: B023
            if not read_only:
                attempt(lambda: blocks.write(offset, b"w" * min(length, 5000), fua=chance.random() < 0.3))  # noqa: B023
                attempt(lambda: blocks.discard(offset, length))  # noqa: B023
                attempt(lambda: blocks.write_zeroes(offset, length, chance.random() < 0.5))  # noqa: B023
                attempt(blocks.flush)
        parts = whole_map(blocks)
        attempt(lambda: [next(parts, None) for _ in range(50)])
        if not read_only:
            attempt(lambda: create_snapshot(blocks, "new", when=0.0))
            for snapshot in list_snapshots(blocks)[:3]:
                attempt(lambda: apply_snapshot(blocks, snapshot.name))  # noqa: B023
                attempt(lambda: delete_snapshot(blocks, snapshot.name))  # noqa: B023
            attempt(lambda: blocks.resize((size + 65536) // 512 * 512))
    finally:
        attempt(blocks.close)


def main() -> None:
    from vsw.disk.blocks.qcow2.check import Repair, check_image

    directory, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    if not os.environ.get("VSW_SANITIZED"):  # AddressSanitizer's own shadow is terabytes of addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 30, 64 << 30))
    images = sorted(directory.glob("*.image"))
    opened = mended = 0
    for seed in range(first, last):
        chance = random.Random(seed)
        source = chance.choice(images)
        image = bytearray(source.read_bytes())
        told = mutate(image, chance)
        print(f"seed {seed}: {source.name} {told}", file=sys.stderr, flush=True)
        path = directory / "mutant"

        def again(path: Path = path, image: bytearray = image) -> None:
            path.unlink(missing_ok=True)
            path.write_bytes(image)

        again()
        opened += attempt(lambda: use(path, chance, True))  # noqa: B023
        attempt(lambda: check_image(path))  # noqa: B023
        attempt(lambda: use(path, chance, False))  # noqa: B023
        again()
        if attempt(lambda: check_image(path, Repair.SAFE)):  # noqa: B023
            attempt(lambda: use(path, chance, False))  # noqa: B023
        again()
        if attempt(lambda: check_image(path, Repair.ALL)):  # noqa: B023
            report = check_image(path)
            mended += report.sound
            if report.sound:
                attempt(lambda: use(path, chance, False))  # noqa: B023
                after = check_image(path)
                assert after.sound, after.messages
        for left in directory.glob("mutant*"):
            left.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{last - first} mutants, {opened} could be opened, {mended} were sound after a full repair; {peak >> 10} MiB at most")


def make_images(directory: Path) -> None:
    """Images with everything that a mutation could hit."""
    from vsw.disk.blocks import Qcow2Blocks
    from vsw.disk.blocks.qcow2.snapshots import create_snapshot

    chance = random.Random(0)
    (directory / "base").write_bytes(chance.randbytes(200_000))
    for name, options in {
        "plain": {"cluster_size": 4096},
        "small": {"cluster_size": 512, "refcount_bits": 8},
        "large": {"cluster_size": 65536},
        "overlay": {"cluster_size": 4096, "backing": "base", "backing_format": "raw"},
        "old": {"cluster_size": 4096, "version": 2},
    }.items():
        with Qcow2Blocks.create(directory / f"{name}.image", 400 * 1024, **options) as blocks:
            for _ in range(12):
                blocks.write(chance.randrange(390 * 1024), chance.randbytes(9000))
            create_snapshot(blocks, "one", when=0.0)
            for _ in range(5):
                blocks.write(chance.randrange(390 * 1024), chance.randbytes(9000))
            blocks.write_zeroes(40_000, 50_000, False)
    if shutil.which("qemu-img"):
        from tests.disk import qemu

        for method in ("zlib", "zstd"):
            qemu.must("convert", "-c", "-O", "qcow2", "-o", f"cluster_size=4096,compression_type={method}", "-f", "raw", directory / "base",
                      directory / f"{method}.image")  # fmt: skip


if __name__ == "__main__":
    main()
