"""One forward pass, by every thread of the team: block after block, each by its own kernel, and at last the output."""

from localmix.backends.numba.machine.control import call3, call4
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import record
from localmix.backends.numba.passes.parts import BLOCK_BYTES, BLOCK_T, NETWORK_T, STEP_T
from localmix.backends.numba.passes.records import COUNTER


@native(2)
def forward(step: int, thread: int) -> None:
    s = record(step, STEP_T)
    n, counter = record(s.network, NETWORK_T), s.counters
    for index in range(s.first, s.last):
        block = record(n.blocks + index * BLOCK_BYTES, BLOCK_T)
        call4(block.one if s.alone else block.many, step, block.at, thread, counter)
        counter += COUNTER * (block.phases_one if s.alone else block.phases_many)
    if s.finish:
        call3(n.output_kernel, step, thread, counter)
