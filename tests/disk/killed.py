"""A process that writes an image from several threads until it is killed, and says on standard output what it has flushed.

``killed.py PATH FORMAT THREADS``: thread T owns every THREADS-th stretch of 8 KiB, and writes it whole with one number after the other; a line
``T N`` says that number N of thread T was flushed.
"""

from __future__ import annotations

import os
import sys
import threading

STRETCH = 8192
SECTOR = 512


def content(number: int, length: int = STRETCH) -> bytes:
    return number.to_bytes(8, "little") * (length // 8)


def main() -> None:
    from vsw.disk.blocks import open_blocks

    path, image_format, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    blocks = open_blocks(path, image_format)
    stretches = blocks.size // STRETCH
    out = threading.Lock()

    def work(thread: int) -> None:
        number = 0
        while True:
            number += 1
            for stretch in range(thread, stretches, threads):
                if number % 5 == 0 and stretch % 3 == 0:
                    blocks.discard(stretch * STRETCH, STRETCH)
                blocks.write(stretch * STRETCH, content(number), fua=number % 7 == 0)
            blocks.flush()
            with out:
                os.write(1, f"{thread} {number}\n".encode())

    for thread in range(threads):
        threading.Thread(target=work, args=(thread,)).start()


if __name__ == "__main__":
    main()
