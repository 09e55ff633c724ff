"""A network on one backend, and the one call that runs a batch of tokens.

Any number of caches may be used with one engine: a forward pass holds the engine's lock, nothing else is shared.
It knows ids and nothing of text. Which experts it chose is told to whoever asks: `watch` of `forward`.
"""

import threading
from collections.abc import Callable, Generator, Sequence
from weakref import WeakSet

import numpy as np

from localmix.backends.protocol import Backend, Cache, Chooses, InParts, Inputs, Pause, Step, Watch
from localmix.engine.batch import CHUNK, FEW, Batch, chunk
from localmix.errors import ContextFullError, LocalmixError
from localmix.network.decoder import Network
from localmix.stream import fit, memory
from localmix.stream.counts import Counts
from localmix.stream.pool import Pool
from quant.format import Floats


class Engine:
    """`kv` is how caches keep keys and values, unless they are asked for otherwise. `pool`: where the experts are;
    None: in memory.
    """

    def __init__(self, network: Network, backend: Backend, kv: str = "f16", pool: Pool | None = None) -> None:
        self.network, self.backend, self.kv, self.pool = network, backend, kv, pool
        # Tokens of a prompt that are computed at once; each of them shares what is read of streamed experts.
        self.chunk = chunk(self.network.products) if pool is None else CHUNK
        self._step = self.decoder()
        # Of passes that others may interrupt; streamed experts are lent to the pass that reads them.
        self._in_parts: InParts | None = getattr(self._step, "in_parts", None) if pool is None else None
        self.chooses: Chooses | None = getattr(self._step, "choices", None)  # of a device that need not wait for us
        self._work: Callable[[int], int] | None = getattr(self._step, "work", None)  # bytes that a pass takes by itself
        self._missing = 0  # bytes that a pool was found to have too many
        self.decoding = Counts()  # what the pool did for tokens decoded one by one
        self._caches = WeakSet[Cache]()
        self._lock = threading.Lock()

    def decoder(self, inputs: Inputs | None = None) -> Step:
        """The network's forward pass, of which `inputs` hears what matrices are multiplied with."""
        return self.backend.decoder(self.network, inputs, self.pool)

    def cache(self, context: int | None = None, kv: str | None = None) -> Cache:
        """An empty cache for sequences of up to `context` tokens (None: what the model was trained for).

        LocalmixError: such a context, or such keys and values, cannot be had.
        """
        most = self.network.context
        if context is not None and not 1 <= context <= most:
            raise LocalmixError(f"a context of {context} tokens: expected 1 to {most}, what the model was trained for")
        cache = self.backend.cache(self.network, context or most, kv or self.kv)
        self._caches.add(cache)
        return cache

    def check(self, ids: Sequence[int]) -> None:
        """LocalmixError for ids that are no tokens of this model: kernels read where they are told to."""
        size = self.network.vocabulary
        if len(ids) and not 0 <= min(ids) <= max(ids) < size:
            raise LocalmixError(f"ids {min(ids)} to {max(ids)}: expected 0 to {size - 1}")

    def checked(self, prompt: Sequence[int], size: int) -> list[int]:
        """The ids of a prompt that can be computed in a context of `size` tokens.

        ContextFullError: it is too long. LocalmixError: it is empty, or not of this model.
        """
        if not len(prompt):
            raise LocalmixError("the prompt is empty, and this model has no beginning-of-text token: give it some text")
        self.fits(len(prompt), size)
        self.check(prompt)
        return list(prompt)

    def fits(self, tokens: int, size: int, at_least: str = "") -> None:
        """ContextFullError: a prompt of so many `tokens`, or `at_least` so many, is longer than `size`."""
        most = self.network.context
        if tokens > size:
            more = f", or raise the context (--ctx), up to {most}" if size < most else ""
            raise ContextFullError(
                f"the prompt has {at_least}{tokens} tokens, the context holds {size}: shorten it{more}", tokens, size
            )

    def forward(self, batch: Batch, cache: Cache, watch: Watch | None = None, pause: Pause | None = None) -> Floats:
        """Run a batch of checked ids and commit it to the cache: logits (W, V). Interrupted, it leaves no trace.

        `watch` is called with the experts chosen, int32 (L, T, A), `pause` between layers: see
        `localmix.backends.protocol`.
        """
        with self._lock:
            cache.reserve(batch)
            if self.pool is None:
                logits = self._step(batch, cache, watch, pause)
                cache.commit(batch)
                return logits
            self.pool.make_way(self._taken(len(batch)))
            before = self.pool.counts
            logits = self._step(batch, cache, watch, pause)
            cache.commit(batch)
            if len(batch) == len(batch.spans):
                self.decoding += self.pool.counts - before + Counts(tokens=len(batch))
        return logits

    def _taken(self, tokens: int) -> int:
        """Bytes for which a pool makes way before a pass of so many tokens."""
        if tokens > FEW:
            self._missing += max(fit.RESERVE - memory.here().available, 0)
        own = 0 if self._work is None else self._work(tokens)
        return sum(one.nbytes for one in self._caches) + own + self._missing

    @property
    def parts(self) -> int:
        """In which `in_parts` runs a batch: 1 where no other pass can come between."""
        return 1 if self._in_parts is None else len(self.network.layers)

    def in_parts(self, batch: Batch, cache: Cache, watch: Watch | None = None) -> Generator[None, None, Floats]:
        """`forward`, for passes of other sequences to be run whenever it yields. Closed before its end, it leaves no
        trace.
        """
        if self._in_parts is None:
            return self.forward(batch, cache, watch)
        cache.reserve(batch)
        running = self._in_parts(batch, cache, watch)
        while True:
            try:
                with self._lock:
                    next(running)
            except StopIteration as end:
                cache.commit(batch)
                logits: Floats = end.value
                return logits
            yield

    def logits(self, ids: Sequence[int], kv: str | None = None) -> Floats:
        """Logits (T, V) float32 after each of T tokens, from an empty cache."""
        self.check(ids)
        cache = self.cache(max(len(ids), 1), kv)
        sequence = cache.new()
        parts = [
            self.forward(Batch.of([(sequence, at, ids[at : at + CHUNK])], every=True), cache)
            for at in range(0, len(ids), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.network.vocabulary), np.float32)
