"""Captures merged by time."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.capture.writers import pcap, pcapng
from vsw.capture import merge, open_capture
from vsw.errors import CaptureError


def merged(lists):
    """(time, source) in the order that a k-way merge gives: the lowest head, of equal ones the first list's."""
    heads = [list(times) for times in lists]
    out = []
    while any(heads):
        source = min((i for i, head in enumerate(heads) if head), key=lambda i: (heads[i][0], i))
        out.append((heads[source].pop(0), source))
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 20), max_size=12), max_size=4), st.integers(0, 10), st.integers(0, 40))
def test_order(tmp_path_factory, lists, start, stop):
    folder = tmp_path_factory.mktemp("merge")
    captures = []
    for number, times in enumerate(lists):
        path = folder / str(number)
        path.write_bytes((pcap if number % 2 else pcapng)([(time * 1000, bytes([number, i]), None) for i, time in enumerate(times)]))
        captures.append(open_capture(path))
    together = merge(captures)
    want = merged(lists)
    assert len(together) == len(want)
    assert [(f.time // 1000, f.data[0]) for f in together] == want
    for number, times in enumerate(lists):
        assert [f.data[1] for f in together if f.data[0] == number] == list(range(len(times)))
    assert [(f.time // 1000, f.data[0]) for f in merge([together])] == want


def test_interfaces_are_renumbered(write):
    first = open_capture(write(pcapng([(1000, b"a", None)], name="eth0"), "a"))
    second = open_capture(write(pcap([(0, b"b", None)]), "b"))
    third = open_capture(write(pcapng([(1000, b"c", None), (5000, b"d", None)], name="eth1"), "c"))
    together = merge([first, second, third])
    assert together.interface_names() == ["eth0", "", "eth1"]
    assert [(f.data, f.interface) for f in together] == [(b"b", 1), (b"a", 0), (b"c", 2), (b"d", 2)]


def test_long_captures_and_a_pipe(write):
    lists = [[i * 3 for i in range(5000)], [i * 2 for i in range(6000)], [i * 7 for i in range(2000)]]
    stored = [pcap([(time * 1000, bytes([number]) * 60, None) for time in times]) for number, times in enumerate(lists)]
    reading, writing = os.pipe()

    def feed():
        with os.fdopen(writing, "wb") as file:
            file.write(stored[2])

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        together = merge([open_capture(write(stored[0], "a")), open_capture(write(stored[1], "b")), open_capture(pipe)])
        read = [(f.time // 1000, f.data) for f in together]
    thread.join()
    assert read == [(time, bytes([source]) * 60) for time, source in merged(lists)]


def test_a_damaged_capture_ends_the_whole(write):
    good = open_capture(write(pcap([(i * 1000, b"g", None) for i in range(1000)]), "good"))
    bad = open_capture(write(pcap([(i * 1000, b"b", None) for i in range(10)])[:-1], "bad"))
    read = []
    with pytest.raises(CaptureError, match="bad"):
        read.extend(iter(merge([good, bad])))
    assert [f.data for f in read] == [b"g", b"b"] * 9
