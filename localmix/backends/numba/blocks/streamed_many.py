"""The experts of many tokens in parts, between which their weights may come from the disk: the choice; of the experts
that `used` lists (and, if `shared`, the shared one), gate and up, then down; and at last the sum.
"""

from localmix.backends.numba.blocks import mixture_many
from localmix.backends.numba.blocks.grouping import group_by_expert
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import record
from localmix.backends.numba.passes.parts import MIXTURE_T, NETWORK_T, PRIVATE_T, STEP_T
from localmix.backends.numba.passes.records import COUNTER

_routed, _gate_up, _down, _add = mixture_many.routed, mixture_many.gate_up, mixture_many.down, mixture_many.add


@native(4)
def route(step: int, block: int, thread: int, counter: int) -> None:
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    _routed(s, n, m, own, counter)
    group_by_expert(s, m, counter + COUNTER)  # two phases


@native(4)
def gate_up(step: int, block: int, thread: int, counter: int) -> None:
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    _gate_up(s, n, m, own, counter)


@native(4)
def down(step: int, block: int, thread: int, counter: int) -> None:
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    _down(s, n, m, own, counter)


@native(4)
def add(step: int, block: int, thread: int, counter: int) -> None:
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    _add(s, record(s.network, NETWORK_T), m, counter)
