"""A loaded model: its file, the engine that computes it, its tokenizer, template and grammars.

What a model can be asked for is here: text that continues a prompt, conversations, logits. How ids are computed is
the engine's, how answers are made is in `localmix.answer`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

from localmix import backends, gguf, network, tokenizer
from localmix.answer import defaults
from localmix.answer.constrain import Grammars
from localmix.answer.draft import KINDS, Drafting, drafts
from localmix.answer.generate import Generation, Progress
from localmix.answer.options import Options
from localmix.answer.routed import Routed
from localmix.answer.sampling import Sampler
from localmix.answer.second import open_second
from localmix.conversation.chat import Chat
from localmix.engine import streaming
from localmix.engine.context import Context
from localmix.engine.engine import Engine
from localmix.errors import LocalmixError, concerning
from localmix.gguf import faults
from localmix.template import ChatTemplate
from quant.format import Floats


class Model:
    """One model on one backend. Use `localmix.load`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        backend: str | None = None,
        threads: int | None = None,
        kv: str = "f16",
        ram: int | None = None,
        draft: str = "auto",
    ) -> None:
        self.file = gguf.open(path)
        self.network = network.load(self.file)
        with concerning(path):
            self.tokenizer = tokenizer.from_metadata(self.file.metadata)
            self.template = ChatTemplate.from_metadata(self.file.metadata, self.tokenizer)
        self.defaults = defaults.of_file(self.file.metadata)
        self.backend = backends.pick(backend, threads)
        if draft not in KINDS and not os.path.exists(draft):
            raise LocalmixError(f"draft = {draft!r}: expected one of {', '.join(KINDS)}, or the file of a model")
        drafted, second, beside = drafts(draft, self.backend, self.network), None, 0
        if drafted and draft not in KINDS:
            second, beside = open_second(Path(draft), self.backend, self.file, self.network)
        with concerning(path):
            weights = sum(tensor.nbytes for tensor in self.file.tensors.values()) + beside
            self.place = streaming.decide(self.network, self.backend, weights, kv, ram)
        if self.place.pool is not None and self.backend.mapped:
            self.network = streaming.owned(self.network)
        elif self.backend.mapped:
            faults.spare(self.file.tensors.values())
        self.engine = Engine(self.network, self.backend, kv, self.place.pool)
        self.drafting = Drafting(second) if drafted else None
        self._grammars = Grammars(self.tokenizer, self.network.vocabulary)

    def sampler(self, options: Options) -> Sampler:
        """A stream of choices. LocalmixError: a schema or grammar that is wrong."""
        return Sampler(options, self._grammars.constraint(options))

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
        repeat_last_n, seed, json_schema, grammar; what is left out is as the file recommends (`defaults`).
        `progress` is called with the tokens of the prompt computed so far and in all; setting `cancel` ends it.
        With `routing` each piece has `experts`, int32 (L, n, A): see
        `localmix.answer.routed`. ContextFullError: the prompt is longer than `context` (None: all that the model was
        trained for). LocalmixError: the routing of a model without experts.
        """
        if routing and not self.network.experts:
            raise LocalmixError(f"{self.file.path}: this model is dense: expected a mixture of experts, which routes")
        room, kind = Context(self.engine, context), Routed if routing else Generation
        if isinstance(prompt, str):
            self.engine.fits(self.tokenizer.at_least(prompt), room.size, "at least ")
        ids = self.tokenizer.encode(prompt, eos=False) if isinstance(prompt, str) else prompt
        continues = len(ids) > 0 and list(ids) != [self.tokenizer.bos]
        return kind(
            self, room, ids, self.defaults.options(options), continues=continues, progress=progress, cancel=cancel
        )

    def chat(self, system: str | None = None, **how: Any) -> "Chat[Model]":
        """A new conversation; `how` is what `Chat` takes. LocalmixError: the file has no chat template."""
        return Chat(self, system, **how)

    def logits(self, ids: Sequence[int], kv: str | None = None) -> Floats:
        """Logits (T, V) float32 after each of T tokens, from an empty cache."""
        return self.engine.logits(ids, kv)
