"""Several threads on one qcow2 disk: nobody reads or writes a cluster that was freed and given to somebody else."""

from __future__ import annotations

import errno
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.disk.crash import number_of, scratch
from tests.patience import PATIENCE
from vsw.disk.blocks import Qcow2Blocks
from vsw.disk.blocks.hostfile import HostFile
from vsw.disk.blocks.qcow2.check import check_image

CLUSTER = 4096
CLUSTERS = 24


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=scratch()) as directory:
        yield Path(directory) / "disk.qcow2"


def together(*works: Callable[[], None]) -> None:
    """Run all at the same time; the first failure is raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def tagged(cluster: int) -> bytes:
    return (cluster + 1).to_bytes(8, "little") * (CLUSTER // 8)


def test_clusters_come_and_go_while_others_read_and_write(path: Path) -> None:
    """Each guest cluster holds its own number or zeroes, whoever reads it, by either way, while hosts change hands all the time."""
    with Qcow2Blocks.create(path, CLUSTER * CLUSTERS, cluster_size=CLUSTER) as blocks:
        door = blocks.direct
        assert door is not None
        ended = threading.Event()
        through_the_door = [0, 0]

        def change(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(700):
                cluster = chance.randrange(CLUSTERS)
                what = chance.random()
                if what < 0.5:
                    blocks.write(cluster * CLUSTER, tagged(cluster))
                elif what < 0.7:
                    blocks.discard(cluster * CLUSTER, CLUSTER)
                elif what < 0.8:
                    blocks.write_zeroes(cluster * CLUSTER, CLUSTER, False)
                else:
                    blocks.flush()

        def change_all() -> None:
            try:
                together(lambda: change(1), lambda: change(2))
            finally:
                ended.set()

        def read(seed: int) -> None:
            chance = random.Random(seed)
            while not ended.is_set():
                cluster = chance.randrange(CLUSTERS)
                buffer = bytearray(CLUSTER)
                if seed % 2 and (code := door.readinto(cluster * CLUSTER, buffer)) == 0:
                    through_the_door[0] += 1
                elif seed % 2 and code != -errno.EAGAIN:
                    raise OSError(-code, "through the door")
                else:
                    blocks.readinto(cluster * CLUSTER, buffer)
                assert set(np.unique(number_of(buffer)).tolist()) <= {0, cluster + 1}

        def write() -> None:
            chance = random.Random(9)
            while not ended.is_set():
                cluster = chance.randrange(CLUSTERS)
                if door.write_from(cluster * CLUSTER + 512, tagged(cluster)[:1024], False) == 0:
                    through_the_door[1] += 1

        together(change_all, lambda: read(1), lambda: read(2), write)
        assert min(through_the_door) > 0
        found = number_of(blocks.read(0, blocks.size)).reshape(CLUSTERS, -1)
        for cluster in range(CLUSTERS):
            assert set(found[cluster].tolist()) <= {0, cluster + 1}
    report = check_image(path)
    assert (report.corruptions, report.leaks, report.marks) == (0, 0, 0), report


def test_neighbours_within_one_new_cluster(path: Path) -> None:
    """Several threads write different sectors of clusters that have no place yet: each cluster gets one, and all sectors are there."""
    size = 64 * 65536
    with Qcow2Blocks.create(path, size) as blocks:

        def work(thread: int) -> None:
            for cluster in range(64):
                blocks.write(cluster * 65536 + thread * 512, bytes((thread + 1,)) * 512)

        together(*(lambda thread=thread: work(thread) for thread in range(6)))  # type: ignore[misc]
        for cluster in range(64):
            assert blocks.read(cluster * 65536, 6 * 512) == b"".join(bytes((thread + 1,)) * 512 for thread in range(6))
    report = check_image(path)
    assert (report.corruptions, report.leaks) == (0, 0)
    assert report.allocated == 64


class WaitingFile(HostFile):
    """A host file whose reads of data wait, once they were told to, until they are let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, read_only=False)
        self.hold = False
        self.waits, self.go = threading.Event(), threading.Event()

    def readinto(self, offset: int, view: memoryview) -> None:
        if self.hold:
            self.hold = False
            self.waits.set()
            assert self.go.wait(PATIENCE)
        super().readinto(offset, view)


def test_a_freed_cluster_is_not_given_out_while_somebody_reads_it(path: Path) -> None:
    """The reader has found where its cluster lies; before it reads, the cluster is discarded and others are written and flushed."""
    Qcow2Blocks.create(path, CLUSTER * CLUSTERS, cluster_size=CLUSTER).close()
    file = WaitingFile(path)
    with Qcow2Blocks(path, file=file) as blocks:
        blocks.write(0, tagged(0))
        blocks.flush()
        found = bytearray(CLUSTER)
        file.hold = True

        def change() -> None:
            assert file.waits.wait(PATIENCE)
            blocks.discard(0, CLUSTER)
            for cluster in range(1, 5):
                blocks.flush()
                blocks.write(cluster * CLUSTER, tagged(cluster))
            file.go.set()

        together(lambda: blocks.readinto(0, found), change)
        assert found == tagged(0)
        blocks.flush()
        before = blocks.core.refcounts.end
        blocks.write(5 * CLUSTER, tagged(5))  # now the freed one is taken
        assert blocks.core.refcounts.end == before
    report = check_image(path)
    assert (report.corruptions, report.leaks) == (0, 0)
