"""What docs/vms.md shows to try, tried: the commands of the page, and at a guest's console what the page types there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Command, Page, alike, borrowed, matches
from tests.e2e import guest, image
from tests.e2e.vms import ANSWER, BOOT, NUDGE
from vsw.vm.place import vm_folder

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(guest.missing_programs() is not None, reason=f"programs are missing: {guest.missing_programs()}"),
]

PROMPT = "/ # "
GUESTS = ("blue1", "blue2", "green1")
LEAVE = b"\x1d"
#: What a shell asks and tells its terminal.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A program on a terminal of its own, and what it has written there since :meth:`type`."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.end, inside = pty.openpty()
        self.process = subprocess.Popen(words, env=environment, stdin=inside, stdout=inside, stderr=inside)
        os.close(inside)
        self.written = ""

    def type(self, data: bytes) -> None:
        self.written = ""
        os.write(self.end, data)

    def until_prompt(self, seconds: float) -> str:
        """What was written up to the next prompt that nothing stands behind."""
        limit = time.monotonic() + seconds
        while not (text := ESCAPES.sub("", self.written)).endswith(f"\n{PROMPT}"):
            assert time.monotonic() < limit, f"waited in vain for the prompt; it wrote:\n{text}"
            if select.select([self.end], [], [], NUDGE)[0]:
                self.written += os.read(self.end, 1 << 16).decode(errors="replace")
            else:
                os.write(self.end, b"\n")  # an interrupt of the serial port was lost, see NUDGE
        return text.removesuffix(PROMPT)

    def close(self) -> None:
        os.write(self.end, LEAVE)
        assert self.process.wait(ANSWER) == 0
        os.close(self.end)


class PageWithConsole(Page):
    """A page on which ``vsw vm console`` is shown with what is typed there, behind the guest's prompt."""

    def console(self, command: Command, cards: str = "") -> list[str]:
        if not command.text.startswith("vsw vm console"):
            return super().console(command, cards)
        # Whoever is asked must be up, too; QEMU keeps in this file what a guest wrote before anybody came.
        logs = [vm_folder(Path(self.environment["VSW_RUN_DIR"]), name) / "console.log" for name in GUESTS]
        limit = time.monotonic() + BOOT
        while not all(path.exists() and PROMPT in path.read_text(errors="replace") for path in logs):
            assert time.monotonic() < limit, "the guests do not boot"
        terminal = Terminal(command.text.split(), self.environment)
        greeting, *typed = (command.output or "").split(f"\n{PROMPT}")
        assert typed
        wrong = self._differs(greeting, terminal.until_prompt(ANSWER))
        for text in typed:
            line, _, expected = text.partition("\n")
            terminal.type(f"{line}\n".encode())
            answer = [written for written in terminal.until_prompt(ANSWER).splitlines() if written.strip() not in {line, PROMPT.strip()}]
            wrong += self._differs(expected, "\n".join(answer))
        terminal.close()
        return wrong

    def _differs(self, expected: str, found: str) -> list[str]:
        return [] if matches(alike(expected), alike(found)) else [f"--- the page says\n{expected}\n--- it wrote\n{found}"]


def test_what_the_page_shows_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if image.find_guest_kernel() is None:
        pytest.skip(f"no kernel with all drivers: neither in /boot nor as Debian's package {guest.FULL_PACKAGE}")
    # A make that runs the tests would have the page's one say which folder it is in.
    for name in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS"):
        monkeypatch.delenv(name, raising=False)
    page = PageWithConsole(ROOT / "docs" / "vms.md", tmp_path)
    page.folder = ROOT
    wrong = page.run([block for block, _ in borrowed("docs/vms.md", __file__)])
    assert not wrong, "\n\n".join(wrong)
