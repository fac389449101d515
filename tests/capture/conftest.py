"""What the tests of captures share."""

from __future__ import annotations

import pytest


@pytest.fixture
def write(tmp_path):
    """Write bytes to a file of a name (``t.pcap``) and return its path."""

    def writer(content, name="t.pcap"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return writer
