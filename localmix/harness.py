"""localmix as a model of EleutherAI's lm-evaluation-harness: `localmix eval`, or `lm_eval --model localmix`.

Named as an entry point of the group `lm_eval.models`, and needs the extra localmix[eval]. The harness asks for three
things: how likely continuations are, how likely whole texts are, and texts. What its contexts share is computed once.
https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/model_guide.md
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

import localmix
from localmix.answer.options import PARALLEL, Options
from localmix.errors import LocalmixError
from localmix.measure.continuing import Continuing
from localmix.measure.scoring import Question, Scorer
from localmix.model import Model
from localmix.template import Message

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""
MAX_TOKENS = 256  # of an answer, where a task does not say: as the harness has it


@register_model("localmix")
class LocalmixLM(TemplateLM):
    """One loaded model. Numbers are the same whatever is asked in one call."""

    def __init__(
        self,
        model: Model | str | None = None,
        pretrained: str | None = None,
        backend: str | None = None,
        threads: int | None = None,
        kv: str = "f16",
        context: int | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        """`model` or `pretrained`: a loaded model, or the path of a file; without either the bundled one. `context`:
        tokens, None for all that the model has. `batch_size` is how many texts are generated at once, `device` is not
        looked at: `backend` says what computes. LocalmixError: the file, or such a context.
        """
        super().__init__()
        named = model if model is not None else pretrained
        given = named if isinstance(named, Model) else localmix.load(named, backend, threads, kv)
        self.model, self._progress = given, progress
        self._scorer = Scorer(given.engine, context)
        wanted = int(batch_size) if batch_size is not None and str(batch_size).isdecimal() else 0
        self._parallel = wanted if wanted > 1 else PARALLEL  # the harness says 1 where nobody says anything
        self._templated = False

    @property
    def max_length(self) -> int:
        """Tokens of context."""
        return self._scorer.context

    @property
    def scored(self) -> tuple[int, int]:
        """Tokens that were scored so far with their contexts, and how many of them were computed."""
        return self._scorer.given, self._scorer.computed

    @property
    def eot_token_id(self) -> int:
        return self._id("eos")

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: BOS, or else EOS."""
        return self._id("bos") if self.model.tokenizer.bos is not None else self._id("eos")

    @property
    def tokenizer_name(self) -> str:
        """A name for the harness's caches."""
        return str(Path(self.model.file.path).absolute()).replace("/", "__")

    def _id(self, name: str) -> int:
        id = getattr(self.model.tokenizer, name)
        if id is None:
            raise LocalmixError(f"{self.model.file.path}: has no {name} token, which texts without a context need")
        return int(id)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **how: Any) -> list[int]:
        """The ids of a text. With a chat template its control tokens are read as such, and BOS comes once."""
        tokenizer = self.model.tokenizer
        ids = tokenizer.encode(string, bos=add_special_tokens, eos=False, control=self._templated)
        if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos:
            del ids[0]
        return ids

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template in the file, if one is asked for. LocalmixError: another one, or there is none."""
        if not chat_template:
            return None
        if isinstance(chat_template, str):
            raise LocalmixError(f"chat template {chat_template!r}: expected none by name: the file has one at most")
        if self.model.template is None:
            raise LocalmixError(f"{self.model.file.path}: has no chat template: leave --apply-chat-template out")
        return self.model.template.source

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the text that the model was trained to read."""
        self.chat_template(True)
        assert self.model.template is not None
        self._templated = True
        messages = [Message(turn["role"], turn["content"]) for turn in chat_history]
        return self.model.template.render(messages, add_generation_prompt=add_generation_prompt)

    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Of each continuation after its context, and whether a greedy choice would have written it."""
        return super().loglikelihood(requests, disable_tqdm=True)  # progress is ours to tell

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **how: Any
    ) -> list[tuple[float, bool]]:
        found = self._scorer.score(
            [self._question(before, after) for _, before, after in requests], self._telling("tokens scored")
        )
        for (texts, _, _), one in zip(requests, found, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, (one.nats, one.greedy))
        return [(one.nats, one.greedy) for one in found]

    def _question(self, before: list[int], after: list[int]) -> Question:
        """Over-long ones lose their beginning, as in the harness's own models."""
        if not after:
            raise LocalmixError("an empty continuation cannot be scored: check the task's choices")
        whole = [*before, *after][-(self.max_length + 1) :]
        return Question(whole, max(len(whole) - len(after), 1))

    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """Of each text by itself: every token once, in windows as long as the context."""
        owners, windows = [], []
        for number, request in enumerate(requests):
            cut = get_rolling_token_windows(
                token_list=self._plain(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for before, after in map(make_disjoint_window, cut):
                owners.append(number)
                windows.append((None, before, after))
        found = [0.0] * len(requests)
        for number, (nats, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            found[number] += nats
        for request, nats in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, nats)
        return found

    def _plain(self, text: str) -> list[int]:
        """Without the BOS, which a window begins with."""
        return self.tok_encode(text, add_special_tokens=False)

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Texts that continue contexts, up to a stop string, several at once."""
        prompts: list[list[int]] = []
        options = []
        for request in requests:
            chosen, think_end = options_of(request.args[1], self.max_length)
            room = max(self.max_length - (chosen.max_tokens or 0), 1)
            prompts.append(self.tok_encode(request.args[0])[-room:])
            options.append((chosen, think_end))
        continuing = Continuing(self.model, self.max_length, self._parallel)
        texts = continuing.texts(prompts, [chosen for chosen, _ in options], self._telling("texts written"))
        found = [text.split(end)[-1].lstrip() if end else text for text, (_, end) in zip(texts, options, strict=True)]
        for request, text in zip(requests, found, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return found

    def _telling(self, what: str) -> Callable[[int, int], None] | None:
        progress = self._progress
        return None if progress is None else lambda done, total: progress(what, done, total)


_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_NAMES = {
    "temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
    "repetition_penalty": "repeat_penalty", "seed": "seed",
}  # fmt: skip


def options_of(given: Mapping[str, Any], most: int) -> tuple[Options, str | None]:
    """How a task wants texts to be chosen, in our terms, and the string that ends its thinking, if it names one.

    Greedy where it does not sample. LocalmixError: what would change the text and is not supported.
    """
    left = {key: value for key, value in given.items() if value is not None}
    until = left.pop("until", [])
    tokens = [left.pop(name) for name in _TOKENS if name in left]
    think_end = left.pop("think_end_token", None)
    sample = left.pop("do_sample", float(left.get("temperature", 0)) > 0)
    if unknown := [f"{key} = {left[key]!r}" for key in left if key not in _NAMES]:
        known = ", ".join(("until", "do_sample", "think_end_token", *_TOKENS, *_NAMES))
        raise LocalmixError(f"generation_kwargs: {', '.join(unknown)}: expected one of {known}")
    chosen = {_NAMES[key]: value for key, value in left.items()}
    neutral: dict[str, Any] = {"temp": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 0}
    stop = tuple(filter(None, _listed(until)))
    limit = min(int(tokens[0]) if tokens else MAX_TOKENS, most - 1)
    return Options(max_tokens=limit, stop=stop, **neutral | chosen | ({} if sample else {"temp": 0.0})), think_end


def _listed(until: str | Iterable[str]) -> list[str]:
    return [until] if isinstance(until, str) else list(until)
