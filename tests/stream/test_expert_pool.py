"""The pool of experts: a hard limit, what is given up, and what happens where reading fails."""

import ctypes
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from localmix.errors import FileFormatError, LocalmixError
from localmix.gguf import Extent
from localmix.stream import probe, readers
from localmix.stream.files import PAGE, DirectFile
from localmix.stream.pool import Held, Pool
from localmix.stream.slots import Key, expert_bytes

LAYERS, EXPERTS, PARTS = 3, 4, 3
SIZES = (5000, 9001, 4096)  # of gate, up and down, at odd places
KEYS = [(layer, e) for layer in range(LAYERS) for e in range(EXPERTS)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experts"
    path.write_bytes(np.random.default_rng(0).bytes(100 + len(KEYS) * sum(SIZES)))
    return path


def experts(path: Path) -> dict[Key, list[Extent]]:
    found, at = {}, 100
    for key in KEYS:
        found[key] = [Extent(path, at + sum(SIZES[:part]), SIZES[part]) for part in range(PARTS)]
        at += sum(SIZES)
    return found


def pool(path: Path, room: int, spare: int = 0) -> Pool:
    """With room for so many experts."""
    found = experts(path)
    return Pool(found, room * expert_bytes(found.values()), spare)


def check(pool: Pool, held: Held, path: Path) -> None:
    """What is at the addresses is what the file has there."""
    data = path.read_bytes()
    for address, extent in zip(pool.wait(held, range(PARTS)), experts(path)[held.key], strict=True):
        assert address % PAGE == extent.start % PAGE
        assert ctypes.string_at(address, extent.size) == data[extent.start : extent.end]


def names(pool: Pool) -> set[Key]:
    return {key for key in KEYS if pool.has(key)}


def once(pool: Pool, *keys: Key, turn: int | None = None) -> None:
    found = pool.hold(keys, turn)
    for held in found:
        pool.wait(held, range(PARTS))
    pool.release(found)


def test_every_expert_is_what_the_file_has(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmix.stream.slots.PIECE", PAGE)  # several pieces each
    made = pool(file, 2)
    for key in KEYS + KEYS[::-1]:
        found = made.hold([key])
        check(made, found[0], file)
        made.release(found)
    assert made.counts.wanted == 2 * len(KEYS)
    assert made.counts.hits == 2  # the last two of the way there
    assert made.counts.hit_rate == 1 / len(KEYS)
    assert made.counts.bytes_read >= (2 * len(KEYS) - 2) * sum(SIZES)
    assert made.counts.reading > 0


def test_the_least_recently_used_is_given_up(file: Path) -> None:
    made = pool(file, 3)
    once(made, (0, 0), (0, 1))
    once(made, (1, 0))
    once(made, (0, 0))
    once(made, (2, 3))
    assert names(made) == {(0, 0), (1, 0), (2, 3)}


def test_what_is_used_often_stays(file: Path) -> None:
    """Also if it was out of memory in between."""
    made = pool(file, 2)
    for _ in range(3):
        once(made, (0, 0))
    for key in KEYS[1:5]:
        once(made, key)
    assert names(made) == {(0, 0), KEYS[4]}
    once(made, KEYS[4])
    once(made, KEYS[3])
    once(made, KEYS[4])
    assert names(made) == {(0, 0), KEYS[4]}
    for _ in range(2):
        once(made, KEYS[3], KEYS[2])
    once(made, (0, 1))
    assert names(made) == {KEYS[3], (0, 1)}


def test_uses_are_forgotten(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmix.stream.uses.HALF_LIFE", 1)
    made = pool(file, 2)
    for _ in range(8):
        once(made, (0, 0))
    for _ in range(2 * LAYERS):
        once(made, (1, 0))
    once(made, (2, 0))
    assert names(made) == {(1, 0), (2, 0)}


def test_in_turn_the_last_used_is_given_up(file: Path) -> None:
    """Layer after layer, all experts of each: the first layers' stay until they are wanted again."""
    made = pool(file, 6)
    for layer in range(LAYERS):
        for e in range(EXPERTS):
            once(made, (layer, e), turn=layer)
    assert {key for key in names(made) if key[0] == 0} == {(0, e) for e in range(EXPERTS)}
    before = made.counts.hits
    for e in range(EXPERTS):
        once(made, (0, e), turn=0)
    assert made.counts.hits - before == EXPERTS


def test_what_is_held_stays(file: Path) -> None:
    made = pool(file, 3)
    held = made.hold([(0, 0), (0, 1)])
    assert made.room() == 1
    for key in KEYS[4:]:
        once(made, key)
    assert made.has((0, 0))
    assert made.has((0, 1))
    again = made.hold([(0, 0)])
    with pytest.raises(MemoryError, match=r"9 slots, and those of \d+ bytes are all in use"):
        made.hold([(2, 0), (2, 1)])
    assert made.room() == 1  # the failed one holds nothing
    for one in held:
        check(made, one, file)
    made.release(held)
    assert made.room() == 2
    made.release(again)
    assert made.room() == 3


def test_parts_come_one_by_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who needs gate and up does not wait for down."""
    gate = threading.Event()
    read = DirectFile.read

    def slow(self: DirectFile, target: memoryview, at: int, need: int) -> None:
        if at >= (100 + SIZES[0] + SIZES[1]) // PAGE * PAGE:
            assert gate.wait(10)
        read(self, target, at, need)

    monkeypatch.setattr(DirectFile, "read", slow)
    made = pool(file, 2)
    [held] = made.hold([(0, 0)])
    made.wait(held, (0, 1))
    assert not held.here((2,))
    gate.set()
    check(made, held, file)
    made.release([held])


def test_a_cut_file_is_an_error_and_leaves_the_pool_whole(file: Path) -> None:
    made = pool(file, 2)
    once(made, (0, 0))
    os.truncate(file, 200)
    for _ in range(3):
        found = made.hold([(2, 0), (2, 1)])
        with pytest.raises(FileFormatError, match="was cut while in use"):
            made.wait(found[0], range(PARTS))
        with pytest.raises(FileFormatError, match="was cut while in use"):
            made.wait(found[1], range(PARTS))
        made.release(found)
        assert made.room() == 2
        assert not made.has((2, 0))
    with pytest.raises(FileFormatError, match="was written to"):
        made.check()


@pytest.mark.parametrize("kind", [LocalmixError, ValueError])
def test_an_error_passes_with_its_cause(kind: type, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails once: who asks then hears of it, who asks later gets the expert. No reader is lost."""
    made, read = pool(file, 2), DirectFile.read

    def broken(self: DirectFile, target: memoryview, at: int, need: int) -> None:
        raise kind("cannot be read")

    monkeypatch.setattr(DirectFile, "read", broken)
    with pytest.raises(LocalmixError, match="cannot be read"):
        once(made, (0, 0))
    monkeypatch.setattr(DirectFile, "read", read)
    found = made.hold([(0, 0)])
    check(made, found[0], file)


def test_an_abandoned_pass_leaves_reads_that_the_next_waits_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = DirectFile.read

    def slow(self: DirectFile, target: memoryview, at: int, need: int) -> None:
        time.sleep(0.02)
        read(self, target, at, need)

    monkeypatch.setattr(DirectFile, "read", slow)
    made = pool(file, 2)
    made.release(made.hold([(0, 0), (0, 1)]))
    found = made.hold([(1, 1)])
    check(made, found[0], file)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_reads_for_itself(file: Path) -> None:
    made = pool(file, 2)
    once(made, (0, 0))
    child = os.fork()
    if child == 0:
        try:
            found = made.hold([(1, 2), (0, 0)])
            for held in found:
                check(made, held, file)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    found = made.hold([(0, 0)])
    check(made, found[0], file)


def test_threads_end_with_the_pool(file: Path) -> None:
    made = pool(file, 2)
    once(made, (0, 0))
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("localmix-reader")]
    assert len(mine) >= readers.READERS
    del made
    for thread in mine[-readers.READERS :]:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("room", [2, 12])
def test_the_speed_of_the_disk(file: Path, room: int) -> None:
    made = pool(file, room)
    assert probe.rate(made) > 0
    assert made.room() == room


def test_small_slots_are_given_up_side_by_side(file: Path) -> None:
    """So that whole pages of 2 MB are free; but for those that are held."""
    made = pool(file, 8)
    once(made, *KEYS[:8])
    once(made, *KEYS[7:3:-1])
    [held] = made.hold([KEYS[6]])
    made.make_way(4 * made.expert_bytes)
    for kind in made._table.kinds:
        last = set(range(kind.first, kind.first + kind.count)) - set(held.slots)
        given = {slot for of, slot in made._given if of is kind}
        assert given == set(sorted(last)[-len(given) :])
    check(made, held, file)


def test_slots_are_given_up_for_what_others_take(file: Path) -> None:
    """And come back; two experts stay whatever is asked for, and what is held stays."""
    made = pool(file, 6, spare=1000)
    once(made, *KEYS[:6])
    made.make_way(1000)
    assert made.slots == 6 * PARTS
    [held] = made.hold([KEYS[0]])
    made.make_way(1001)
    assert (made.slots, made.room()) == (6 * PARTS - 1, 4)
    made.make_way(1000 + 3 * made.expert_bytes)
    assert (made.slots, made.room()) == (3 * PARTS, 2)
    assert made.nbytes == 3 * made.expert_bytes
    check(made, held, file)
    made.make_way(100 * made.expert_bytes)
    assert made.slots == 2 * PARTS
    once(made, KEYS[7])
    with pytest.raises(MemoryError):
        made.hold(KEYS[8:10])
    made.make_way(0)
    assert (made.slots, made.room()) == (6 * PARTS, 5)
    once(made, *KEYS[1:6])
    check(made, held, file)
    made.release([held])
    for key in KEYS:
        found = made.hold([key])
        check(made, found[0], file)
        made.release(found)


SIZE = 2 * PAGE  # of every matrix


def alike(path: Path) -> dict[Key, list[Extent]]:
    """Experts whose matrices have one size, so that any slot takes any of them."""
    starts = {key: 3 * SIZE * at for at, key in enumerate(KEYS)}
    path.write_bytes(np.random.default_rng(0).bytes(3 * SIZE * len(KEYS)))
    return {key: [Extent(path, start + SIZE * part, SIZE) for part in range(PARTS)] for key, start in starts.items()}


def test_a_part_of_an_expert_makes_room_and_the_rest_stays(tmp_path: Path) -> None:
    """The last parts first, of the expert that was used least; only what is missing is read again."""
    found = alike(tmp_path / "experts")
    made = Pool(found, 7 * SIZE)
    once(made, (0, 0), (0, 1))
    once(made, (0, 1))
    once(made, (0, 2))  # two parts of the first make room
    assert not made.has((0, 0))
    before = made.counts
    [held] = made.hold([(0, 0)])
    assert held.here((0,))
    assert [made.wait(held, (part,))[0] % PAGE for part in range(PARTS)] == [0, 0, 0]
    data = (tmp_path / "experts").read_bytes()
    for address, extent in zip(made.wait(held, range(PARTS)), found[0, 0], strict=True):
        assert ctypes.string_at(address, SIZE) == data[extent.start : extent.end]
    assert (made.counts - before).bytes_read == 2 * SIZE
    assert (made.counts - before).hits == pytest.approx(1 / PARTS)
    made.release([held])
    assert made.room() == 2


def test_a_pass_in_turn_keeps_what_it_does_not_need_room_for(tmp_path: Path) -> None:
    found = alike(tmp_path / "experts")
    made = Pool(found, 10 * SIZE)
    for layer in range(LAYERS):
        for e in range(EXPERTS):
            once(made, (layer, e), turn=layer)
    read = made.counts.bytes_read
    once(made, (0, 0), (0, 1), (0, 2), turn=0)
    assert made.counts.bytes_read - read <= SIZE * PARTS


def test_matrices_of_several_sizes_have_a_share_each(tmp_path: Path) -> None:
    """As in a file whose downs are stored finer in some layers."""
    path, at, found = tmp_path / "experts", 0, dict[Key, list[Extent]]()
    for key in KEYS:
        sizes = [PAGE, PAGE, 2 * PAGE if key[0] == 0 else PAGE]
        found[key] = [Extent(path, at + sum(sizes[:part]), size) for part, size in enumerate(sizes)]
        at += sum(sizes)
    path.write_bytes(np.random.default_rng(0).bytes(at))
    made = Pool(found, at // 2)
    assert made.nbytes in (at // 2, at // 2 - PAGE)
    assert made.experts_bytes == at
    for key in KEYS * 2:
        [held] = made.hold([key])
        data = path.read_bytes()
        for address, extent in zip(made.wait(held, range(PARTS)), found[key], strict=True):
            assert ctypes.string_at(address, extent.size) == data[extent.start : extent.end]
        made.release([held])
    made.make_way(at)
    assert made.room() == 2
    assert made.nbytes <= 2 * made.expert_bytes + 2 * PAGE
