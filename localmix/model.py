"""A loaded model: file, network, tokenizer, template and backend, and the one call that runs a batch.

Any number of caches may be used with one model: a forward pass holds the model's lock, nothing else is shared.
Which experts it chose is told to whoever asks: `watch` of `forward`, or of a `Context` for all its passes.
"""

import os
import threading
from collections.abc import Sequence
from threading import Event
from typing import Any

import numpy as np

from localmix import arch, backends, gguf, tokenizer
from localmix.answer.constrain import Grammars
from localmix.answer.generate import Generation, Progress
from localmix.answer.options import Options
from localmix.answer.routed import Routed
from localmix.answer.sampling import Sampler
from localmix.backends import Chooses
from localmix.backends.watch import Pause, Watch
from localmix.conversation.chat import Chat
from localmix.engine.batch import CHUNK, Batch, chunk
from localmix.engine.context import Context
from localmix.errors import LocalmixError, concerning
from localmix.template import ChatTemplate
from quant.format import Floats


class Model:
    """One model on one backend. Use `localmix.load`."""

    def __init__(
        self, path: str | os.PathLike[str], backend: str | None = None, threads: int | None = None, kv: str = "f16"
    ) -> None:
        self.file = gguf.open(path)
        self.kv = kv  # how caches keep keys and values, unless they are asked for otherwise
        self.network = arch.load(self.file)
        self.config = self.network.config
        self.chunk = chunk(self.config.products)  # tokens of a prompt that are computed at once
        with concerning(path):
            self.tokenizer = tokenizer.from_metadata(self.file.metadata)
            self.template = ChatTemplate.from_metadata(self.file.metadata, self.tokenizer)
        self.backend = backends.pick(backend, threads)
        self._step = self.backend.decoder(self.network)
        self.chooses: Chooses | None = getattr(self._step, "choices", None)  # of a device that need not wait for us
        self._grammars = Grammars(self.tokenizer, self.config.vocabulary)
        self._lock = threading.Lock()

    def cache(self, context: int | None = None, kv: str | None = None) -> Any:
        """An empty cache for sequences of up to `context` tokens (None: what the model was trained for).

        LocalmixError: such a context, or such keys and values, cannot be had.
        """
        most = self.config.context
        if context is not None and not 1 <= context <= most:
            raise LocalmixError(f"a context of {context} tokens: expected 1 to {most}, what the model was trained for")
        return self.backend.cache(self.network, context or most, kv or self.kv)

    def sampler(self, options: Options) -> Sampler:
        """A stream of choices. LocalmixError: a schema or grammar that is wrong."""
        return Sampler(options, self._grammars.constraint(options))

    def check(self, ids: Sequence[int]) -> None:
        """LocalmixError for ids that are no tokens of this model: kernels read where they are told to."""
        size = self.config.vocabulary
        if len(ids) and not 0 <= min(ids) <= max(ids) < size:
            raise LocalmixError(f"ids {min(ids)} to {max(ids)}: expected 0 to {size - 1}")

    def forward(self, batch: Batch, cache: Any, watch: Watch | None = None, pause: Pause | None = None) -> Floats:
        """Run a batch of checked ids and commit it to the cache: logits (W, V). Interrupted, it leaves no trace.

        `watch` is called with the experts chosen, int32 (L, T, A), `pause` between layers: see
        `localmix.backends.watch`.
        """
        with self._lock:
            cache.reserve(batch)
            logits = self._step(batch, cache, watch, pause)
            cache.commit(batch)
        return logits

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        context: int | None = None,
        progress: Progress | None = None,
        cancel: Event | None = None,
        routing: bool = False,
        **options: Any,
    ) -> Generation:
        """Text that continues `prompt` (text, or ids as they are), in pieces.

        `options` are the fields of `Options`: max_tokens, stop, temp, top_k, top_p, min_p, repeat_penalty,
        repeat_last_n, seed, json_schema, grammar. `progress` is called with the tokens of the prompt computed so far
        and in all; setting `cancel` ends it. With `routing` each piece has `experts`, int32 (L, n, A): see
        `localmix.answer.routed`. ContextFullError: the prompt is longer than `context` (None: all that the model was
        trained for). LocalmixError: the routing of a model without experts.
        """
        if routing and not self.config.experts:
            raise LocalmixError(f"{self.file.path}: this model is dense: expected a mixture of experts, which routes")
        ids = self.tokenizer.encode(prompt, eos=False) if isinstance(prompt, str) else prompt
        continues = len(ids) > 0 and list(ids) != [self.tokenizer.bos]
        room = Context(self, context)
        kind = Routed if routing else Generation
        return kind(room, ids, Options(**options), continues=continues, progress=progress, cancel=cancel)

    def chat(self, system: str | None = None, **how: Any) -> Chat:
        """A new conversation; `how` is what `Chat` takes. LocalmixError: the file has no chat template."""
        return Chat(self, system, **how)

    def logits(self, ids: Sequence[int], kv: str | None = None) -> Floats:
        """Logits (T, V) float32 after each of T tokens, from an empty cache."""
        self.check(ids)
        cache = self.cache(max(len(ids), 1), kv)
        sequence = cache.new()
        parts = [
            self.forward(Batch.of([(sequence, at, ids[at : at + CHUNK])], every=True), cache)
            for at in range(0, len(ids), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.config.vocabulary), np.float32)
