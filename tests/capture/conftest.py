"""What the tests of captures share."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack

import pytest


@pytest.fixture
def write(tmp_path):
    """Write bytes to a file of a name (``t.pcap``) and return its path."""

    def writer(content, name="t.pcap"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return writer


@pytest.fixture
def piped():
    """Write bytes into a pipe from another thread and return its reading end as a file."""
    threads = []

    def feed(descriptor, pieces):
        with os.fdopen(descriptor, "wb", buffering=0) as target:
            for piece in pieces:
                try:
                    target.write(piece)
                except BrokenPipeError:
                    return

    def pipe(*pieces):
        reading, writing = os.pipe()
        threads.append(threading.Thread(target=feed, args=(writing, pieces)))
        threads[-1].start()
        return stack.enter_context(os.fdopen(reading, "rb", buffering=0))

    with ExitStack() as stack:
        yield pipe
    for thread in threads:
        thread.join()
