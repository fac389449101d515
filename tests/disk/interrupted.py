"""A process that copies a disk in small steps and says how far it has come, until it is killed; it never ends by itself.

``interrupted.py SOURCE SOURCE_FORMAT TARGET TARGET_FORMAT CLUSTER_SIZE RESUME``, the last 0 or 1: the same as ``vsw disk convert`` with the
journal written each MiB. Before the last step it waits.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path


def main() -> None:
    from vsw.disk import convert as converting
    from vsw.disk.blocks import open_blocks

    source, source_format, target, target_format = sys.argv[1:5]
    converting.STRETCH = 1 << 20
    converting.PIECE = 128 << 10
    options: dict[str, object] = {"preallocation": "off"}
    if target_format == "qcow2":
        options["cluster_size"] = int(sys.argv[5])

    def told(done: int) -> None:
        print(done, flush=True)
        if done > blocks.size - converting.STRETCH:
            signal.pause()

    with open_blocks(source, source_format, read_only=True) as blocks:
        identity = converting.identify(Path(source), source_format, None, blocks)
        whole = converting.Target(Path(target), target_format, options)
        converting.convert(blocks, identity, whole, resume=sys.argv[6] == "1", progress=told)


if __name__ == "__main__":
    main()
