"""How a model marks what it thinks and what it calls, found by the text of its chat template."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localmix.answer.stops import Asides
from localmix.errors import LocalmixError
from localmix.markup import harmony
from localmix.markup.asides import Between, Messages
from localmix.markup.calls import read_gemma, read_json, read_keys, read_named, read_python, read_xml
from localmix.markup.harmony import Harmony
from localmix.markup.pairs import Marker, Pairs
from localmix.markup.parts import Parser
from localmix.tokenizer import Tokenizer

# By what a template says: the first that fits counts. Without any a model is taken to have learned Qwen's way.
_CALLS = (
    ("[TOOL_CALLS]", Marker("[TOOL_CALLS]", "", read_named)),
    ("<function=", Marker("<tool_call>", "</tool_call>", read_xml)),
    ("<arg_key>", Marker("<tool_call>", "</tool_call>", read_keys)),
    ("<|tool_call>", Marker("<|tool_call>", "<tool_call|>", read_gemma)),
    ("<|tool_call_start|>", Marker("<|tool_call_start|>", "<|tool_call_end|>", read_python)),
    ("<tool_call>", Marker("<tool_call>", "</tool_call>", read_json)),
    ("<|python_tag|>", Marker("<|python_tag|>", "", read_json)),
)
_HERMES = Marker("<tool_call>", "</tool_call>", read_json)
_HARMONY_CALL = Marker("<|channel|>commentary <|constrain|>json<|message|>", "", read_json)
_THOUGHTS = (
    ("<|channel>", Marker("<|channel>", "<channel|>", named=True)),  # Gemma 4
    ("</think>", Marker("<think>", "</think>")),
    ("<think>", Marker("<think>", "</think>")),
    ("[THINK]", Marker("[THINK]", "[/THINK]")),  # Magistral
    ("<seed:think>", Marker("<seed:think>", "</seed:think>")),
)
_SWITCHES = {"enable_thinking": r"\benable_thinking\b", "thinking": r"(?<![\w.])thinking is (not )?defined"}
_EFFORTS = ("low", "medium", "high")
_OPENING = 16  # tokens at the end of a prompt among which a marker may be that it opens


@dataclass(frozen=True)
class Markup:
    """One way of marking. `knows`: the template tells the model of tools by itself. `thought` None: it never thinks.

    `switch` is the template's variable that says whether to think, `effort` whether one says how much.
    """

    call: Marker
    knows: bool
    thought: Marker | None
    harmony: bool = False
    switch: str | None = None
    effort: bool = False

    @property
    def thinks(self) -> bool:
        return self.harmony or self.thought is not None

    def shown(self, tokenizer: Tokenizer) -> frozenset[int]:
        """The control tokens that are markers, which a parser has to see."""
        pairs = [self.call, *([self.thought] if self.thought else [])]
        names = {text for pair in pairs for text in (pair.open, pair.close)} | {"[ARGS]", "[CALL_ID]", '<|"|>'}
        names |= {*harmony.MARKERS} if self.harmony else set()
        return frozenset(id for text, id in tokenizer.control_tokens.items() if text in names)

    def parser(self, prompt: Sequence[int], tokenizer: Tokenizer, *, calls: bool = True, bare: bool = False) -> Parser:
        """For the text of one answer to `prompt`, its markers shown.

        `calls`: whether there are tools; else a call is text, but see `bare`: no marker is, whatever becomes of it.
        """
        if self.harmony:
            return Harmony(calls=calls)
        markers = [self.call] if calls else []
        markers += [self.thought] if self.thought else []
        return Pairs(markers, self.opened(prompt, tokenizer), bare=bare)

    def asides(self, prompt: Sequence[int], tokenizer: Tokenizer) -> Asides | None:
        """What tells thoughts of an answer to `prompt` from what is for the user, its markers shown; None: there are
        no thoughts.
        """
        if self.harmony:
            return Messages()
        if self.thought is None:
            return None
        return Between(self.thought.open, self.thought.close, self.opened(prompt, tokenizer) is not None)

    def ending(self, prompt: Sequence[int], tokenizer: Tokenizer) -> list[int]:
        """The ids that end the thought which a prompt has opened, empty as it is; none where it has opened none."""
        opened = self.opened(prompt, tokenizer)
        if opened is None:
            return []
        text = f"\n{opened.close}\n\n" if self._end(prompt, tokenizer).endswith("\n") else f"\n\n{opened.close}\n\n"
        return tokenizer.encode(text, bos=False, eos=False, control=True, first=False)

    def opened(self, prompt: Sequence[int], tokenizer: Tokenizer) -> Marker | None:
        """The thought that a prompt has begun already."""
        if self.thought is None:
            return None
        end = self._end(prompt, tokenizer)
        return self.thought if end.rstrip().endswith(self.thought.open) else None

    def _end(self, prompt: Sequence[int], tokenizer: Tokenizer) -> str:
        """The text that a prompt ends with, its markers shown."""
        stream = tokenizer.stream(keep_space=True, shown=self.shown(tokenizer))
        return "".join(map(stream.push, prompt[-_OPENING:])) + stream.flush()

    def history(self, thought: str) -> Mapping[str, Any] | None:
        """The fields of a message that tell its template what was thought before it."""
        if not thought or not self.thinks:
            return None
        return {"thinking": thought} if self.harmony else {"reasoning_content": thought}

    def variables(self, think: bool | None = None, effort: str | None = None) -> dict[str, Any]:
        """What the template has to see so that the model thinks or not, and how much; None: as it likes.

        LocalmixError: the template has no place for that.
        """
        found: dict[str, Any] = {}
        if effort is not None:
            if not self.effort:
                raise LocalmixError("reasoning effort: this model's template has no place for it")
            if self.harmony and effort not in _EFFORTS:
                raise LocalmixError(f"reasoning effort = {effort!r}: expected one of {', '.join(_EFFORTS)}")
            found["reasoning_effort"] = effort
        if think is not None and self.switch is not None:
            found[self.switch] = think
        elif think and not self.thinks:
            raise LocalmixError("think: this model does not think: its template has no place for thoughts")
        elif think is False and self.thinks:
            instead = "; a low reasoning effort keeps it short" if self.effort else ""
            raise LocalmixError(f"no thinking: this model always thinks, its template has no switch{instead}")
        return found


def markup_of(source: str) -> Markup:
    """By what a template says."""
    effort = "reasoning_effort" in source
    if harmony.CHANNEL in source and harmony.MESSAGE in source:
        return Markup(_HARMONY_CALL, "tools" in source, None, True, None, effort)
    call = next((call for sign, call in _CALLS if sign in source), _HERMES)
    thought = next((thought for sign, thought in _THOUGHTS if sign in source), None)
    switch = next((name for name, sign in _SWITCHES.items() if re.search(sign, source)), None)
    return Markup(call, "tools" in source, thought, False, switch, effort)
