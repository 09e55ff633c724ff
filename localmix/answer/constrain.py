"""Answers that a JSON schema or a grammar allows, and no others: what cannot come next is taken out of the logits.

The library (llguidance) knows the grammar and, for each state, the tokens that may follow, as bytes. So a
vocabulary is given to it as bytes, of SentencePiece or of BPE alike; control tokens but the end never match.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from localmix.answer import gbnf
from localmix.answer.options import Options
from localmix.answer.schema import explained, parse
from localmix.errors import LocalmixError
from localmix.tokenizer import Tokenizer
from quant.format import Floats

# Between the parts of a JSON text: nothing, a space, or a line break and an indent. More is room for a small model
# to run away in.
_WHITESPACE = r"( ?|\n {0,16})"
_PLACE = re.compile(r"(?:at )?(\d+)\((\d+)\): (.*)")
_MARK = "\x02"  # begins a text that is encoded, so that SentencePiece's own space comes before it


class Constraint:
    """What one answer may be; follows it token by token."""

    def __init__(self, matcher: Any, end: int, ends: list[int]) -> None:
        """`end` is the one of `ends` that the matcher knows."""
        self._matcher, self._end, self._ends = matcher, end, ends

    def mask(self, logits: Floats) -> Floats:
        """The logits (V,), those of ids that may not come next at -inf."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        _check(self._matcher)
        allowed = np.unpackbits(bits, count=logits.size, bitorder="little").view(bool)  # (V,)
        allowed[self._ends] = allowed[self._end]
        return np.where(allowed, logits, np.float32(-np.inf))

    def accept(self, id: int) -> None:
        """The id that was chosen, of those allowed."""
        self._matcher.consume_token(self._end if id in self._ends else id)
        _check(self._matcher)

    def fork(self) -> "Constraint":
        """Another that has followed the same tokens."""
        return Constraint(self._matcher.deep_copy(), self._end, self._ends)


class Grammars:
    """Makes constraints for one vocabulary, which takes the library 10 to 200 ms to learn: the first time only."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        """`size`: how many logits there are."""
        self._tokenizer, self._size = tokenizer, size
        self._learned: Any = None

    def constraint(self, options: Options) -> Constraint | None:
        """What `options` ask for, None if for nothing. LocalmixError: a schema or grammar that is wrong."""
        if options.json_schema is None and options.grammar is None:
            return None
        from llguidance import LLMatcher

        try:
            text = _schema(options.json_schema) if options.json_schema is not None else _grammar(str(options.grammar))
        except ValueError as error:
            raise LocalmixError(f"{_name(options)}: {error}") from None
        if not (ends := sorted(self._tokenizer.end_ids)):
            raise LocalmixError("this model has no end-of-text token: it cannot follow a grammar or schema")
        matcher = LLMatcher(self._vocabulary(ends[0]), text, log_level=0)
        if matcher.is_error():
            raise LocalmixError(f"{_name(options)}: {_why(options, matcher.get_error())}")
        return Constraint(matcher, ends[0], ends)

    def _vocabulary(self, end: int) -> Any:
        if self._learned is None:
            from llguidance import LLTokenizer, TokenizerWrapper

            self._learned = LLTokenizer(TokenizerWrapper(_Spelled(self._tokenizer, end)), n_vocab=self._size)
        return self._learned


class _Spelled:
    """A tokenizer as the library wants it."""

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self.bos_token_id, self.eos_token_id = tokenizer.bos, end
        self.tokens = [tokenizer.piece(id) for id in range(tokenizer.vocab_size)]
        self.special_token_ids = [id for id in range(tokenizer.vocab_size) if not tokenizer.is_text(id)]
        self._encode = tokenizer.encode
        self._before = tokenizer.encode(_MARK, bos=False)

    def __call__(self, text: str) -> list[int]:
        """The ids of a text that goes on, so without SentencePiece's space before it."""
        ids = self._encode(_MARK + text, bos=False)
        return ids[len(self._before) :]


def _schema(schema: str | Mapping[str, Any]) -> str:
    """ValueError: it is no schema."""
    return _compiled(parse(schema))


def _compiled(schema: Mapping[str, Any]) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults={"whitespace_pattern": _WHITESPACE})


def _refusal(schema: Mapping[str, Any]) -> str:
    """What the library says against a schema."""
    from llguidance import LLMatcher

    try:
        return str(LLMatcher.validate_grammar(_compiled(schema)))
    except ValueError as error:
        return str(error)


def _why(options: Options, error: str) -> str:
    """What the library has against a schema or grammar, in the user's terms."""
    if options.json_schema is not None:
        schema = parse(options.json_schema)
        return explained(schema, _refusal(schema) or error, _refusal)
    place, what = _PLACE.fullmatch(error.split("\n")[0]), "it cannot be read"
    if place is None:
        return " ".join(error.split("\n")[0].split()) or what
    return place[3] if gbnf.recognized(str(options.grammar)) else f"line {place[1]} column {place[2]}: {place[3]}"


def _grammar(text: str) -> str:
    """A grammar of llama.cpp (GBNF) or of Lark."""
    from llguidance import grammar_from

    return grammar_from("lark", gbnf.to_lark(text) if gbnf.recognized(text) else text.removeprefix("\ufeff"))


def _name(options: Options) -> str:
    return "json_schema" if options.json_schema is not None else "grammar"


def _check(matcher: Any) -> None:
    if matcher.is_error():
        raise LocalmixError(f"grammar: {' '.join(matcher.get_error().split())}")
