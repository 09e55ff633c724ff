"""The Numba backend: one call runs a whole token."""

from localmix.backends.numba.machine import isa
from localmix.backends.numba.passes.engine import Engine
from localmix.backends.numba.passes.program import Program, matrices
from localmix.backends.numba.passes.records import KINDS, room
from localmix.backends.numba.passes.streamed import Streamed
from localmix.backends.numba.passes.team import Team, processors
from localmix.backends.protocol import Inputs, Step, as_stored
from localmix.engine.cache import PagedCache
from localmix.engine.storage import storage
from localmix.errors import LocalmixError, UnsupportedError
from localmix.network.decoder import Network
from localmix.stream.pool import Pool


class NumbaBackend:
    """Kernels of this machine's vector instructions, on all physical cores."""

    name = "numba"
    mapped = True
    spares = True
    streams = True
    room = None

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise LocalmixError(f"{threads} threads: expected at least 1")
        self.isa = isa.active().name
        self.threads = threads or processors()
        self._team = Team(self.threads)

    def cache(self, network: Network, context: int, kv: str) -> PagedCache:
        a = network.layers[0].attention
        storage(kv).elements(a.size)  # refused here: with `room` it might pass
        if kv not in KINDS:
            raise UnsupportedError(f"keys and values as {kv}: the numba backend has kernels for {', '.join(KINDS)}")
        return PagedCache(len(network.layers), a.kv_heads, room(a.size), context, kv, network.windows)

    def held(self, format: str, weights: int) -> int:
        """Bytes of so many weights."""
        return as_stored(format, weights)

    def slots(self, network: Network, kv: str = "f16") -> None:
        """Experts stay as files have them. What compiling kernels takes a pool must not be promised: it is done now."""
        program = Program(network, self.threads, pooled=True)
        for count in ("many", "one"):
            program.need(count)
        program.bind(self.cache(network, 1, kv))
        program.embedding()

    def repeats(self, network: Network) -> bool:
        """Not with matrices of floats: for one token their rows are added up in another order than for several."""
        return all(weight.format.block > 1 for weight in matrices(network))

    def decoder(self, network: Network, inputs: Inputs | None = None, pool: Pool | None = None) -> Step:
        program = Program(network, self.threads, pooled=pool is not None)
        if pool is not None:
            return Streamed(program, self._team, pool, inputs)
        return Engine(program, self._team, inputs)
