"""The kernel that a worker thread lives in: wait a while for a pass, run it, wait again; give up when idle."""

import numba

from localmix.backends.numba.machine.control import atomic_add, atomic_load, call2, pause
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import record
from localmix.backends.numba.passes.records import TEAM, offset

TEAM_T = numba.from_dtype(TEAM)
OPEN, INSIDE, EPOCH = (offset(TEAM, name) for name in ("open", "inside", "epoch"))


@native(2)
def serve(team: int, thread: int) -> None:
    """Returns when nothing came for `patience` turns. The gate keeps a late thread out of a pass that has ended."""
    t = record(team, TEAM_T)
    seen = atomic_load(team + EPOCH) - 1  # a pass may have begun before this thread looked
    turns = 0
    while turns < t.patience:
        epoch = atomic_load(team + EPOCH)
        if epoch == seen:
            pause()
            turns += 1
            continue
        atomic_add(team + INSIDE, 1)
        if atomic_load(team + OPEN) == 1:
            call2(t.kernel, t.argument, thread)
            turns = 0
        atomic_add(team + INSIDE, -1)
        seen = epoch


@native(2)
def lead(team: int, _: int) -> None:
    """The calling thread's part: open the gate, run, close it, and see the others out."""
    t = record(team, TEAM_T)
    atomic_add(team + OPEN, 1)
    atomic_add(team + EPOCH, 1)
    call2(t.kernel, t.argument, 0)
    atomic_add(team + OPEN, -1)
    while atomic_load(team + INSIDE) > 0:
        pause()
