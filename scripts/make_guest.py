"""``make guest``: a small Linux to try topologies with, in build/guest: Debian's kernel and a file system of busybox with the drivers of every card.

Needs busybox-static, gcc, dpkg; the kernel is fetched from Debian if /boot has none with these drivers.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e import guest, image  # noqa: E402


def main() -> int:
    """Build it; 0, or 1 with what is missing."""
    if missing := guest.missing_programs():
        print(f"first: {missing}", file=sys.stderr)
        return 1
    kernel = image.find_guest_kernel()
    if kernel is None:
        print(f"no kernel with the drivers {', '.join(image.NEEDED)}: neither in /boot nor as Debian's package {guest.FULL_PACKAGE}", file=sys.stderr)
        return 1
    folder = ROOT / "build" / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kernel.image, folder / "vmlinuz")
    image.build(kernel, folder / "initrd")
    print(f"{folder.relative_to(ROOT)}: vmlinuz ({kernel.modules.name}), initrd")
    return 0


if __name__ == "__main__":
    sys.exit(main())
