"""The Tokenizer that the rest of the program sees, and the Stream that turns ids into text as they come.

It keeps control tokens and plain text apart; the engine below it (`spm` or `bpe`) only ever sees plain text.
"""

import codecs
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Protocol

from localmix.errors import LocalmixError
from localmix.tokenizer.types import TokenType
from localmix.tokenizer.vocabulary import Vocabulary


class Engine(Protocol):
    """What a kind of vocabulary has to bring."""

    adds_space: bool  # whether encode puts a space before the text, which decode then has to take away

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        """The ids of plain text, never a control token. `first`: nothing stands before it."""

    def piece(self, id: int) -> bytes:
        """The bytes that a token stands for."""

    def at_least(self, text: str) -> int:
        """A number of tokens that plain text has at least, found without encoding it; 0 where nothing is known."""


class Tokenizer:
    """Text to ids and back. Immutable, and safe to share between threads."""

    def __init__(self, vocabulary: Vocabulary, engine: Engine) -> None:
        self.bos = vocabulary.bos
        self.eos = vocabulary.eos
        self.end_ids = vocabulary.end_ids
        self.add_bos = bool(vocabulary.begin)
        self.vocab_size = len(vocabulary.tokens)
        self.control_tokens = vocabulary.control.tokens
        self._begin = vocabulary.begin or _one(vocabulary.bos)
        self._end = vocabulary.end or _one(vocabulary.eos)
        self.add_eos = bool(vocabulary.end)
        self._control_ids = frozenset(vocabulary.ids_of(TokenType.CONTROL))  # two may share a text
        self._no_text = self._control_ids | {
            *vocabulary.ids_of(TokenType.UNKNOWN),
            *vocabulary.ids_of(TokenType.UNUSED),
        }
        self._engine = engine
        self.adds_space = engine.adds_space
        self._control = vocabulary.control

    def encode(
        self, text: str, *, bos: bool | None = None, eos: bool | None = None, control: bool = False, first: bool = True
    ) -> list[int]:
        """The ids of `text`.

        `bos`, `eos`: whether the ids that begin and end a text stand around it; None does as the file says, of eos
        only where bos is None too. Whoever lets a model go on wants no eos. `control`: whether `</s>` and the like
        become control tokens. Leave it False for what a user typed: then they stay text. `first`: nothing stands
        before the text, see the engine. Code units that are no Unicode text (lone surrogates) are read as U+FFFD.
        """
        if eos is None:
            eos = self.add_eos and bos is None
        ids = list(self._begin) if (self.add_bos if bos is None else bos) else []
        text = _as_unicode(text)
        for part in self.split_control(text) if control else [text]:
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._engine.encode(part, first=first)
            first = False
        return [*ids, *self._end] if eos else ids

    def decode(self, ids: Iterable[int], *, keep_space: bool = False) -> str:
        """The text of `ids`, control tokens left out; bytes that are no UTF-8 become U+FFFD.

        SentencePiece puts a space before every text; it is taken away here once. `keep_space` leaves it, for
        ids that continue a text rather than begin one.
        """
        stream = self.stream(keep_space=keep_space)
        return "".join(map(stream.push, ids)) + stream.flush()

    def stream(self, *, keep_space: bool = False, shown: Container[int] = ()) -> "Stream":
        """A decoder for ids that come one at a time; what it gives adds up to `decode` of all of them.

        `shown` are control tokens that are given out by their names.
        """
        return Stream(self, strip=self._engine.adds_space and not keep_space, shown=shown)

    def at_least(self, text: str) -> int:
        """A number of tokens that `text` has at least: what is much too long is found before the work."""
        return self._engine.at_least(text)

    def piece(self, id: int) -> bytes:
        """The bytes of one token (of a control token its name); they need not be whole characters."""
        if not 0 <= id < self.vocab_size:
            raise LocalmixError(f"token id {id} is outside the vocabulary of {self.vocab_size} tokens")
        return self._engine.piece(id)

    def is_control(self, id: int) -> bool:
        """Whether a token steers the model instead of standing for text."""
        return id in self._control_ids

    def is_text(self, id: int) -> bool:
        """Whether a token stands for its own bytes: no control token, no unknown or unused one."""
        return id not in self._no_text

    def text(self, id: int) -> str:
        """A token as text, a control token by its name."""
        return self.piece(id).decode("utf-8", "replace")

    def without_end(self, ids: Sequence[int]) -> list[int]:
        """An answer's ids without the one that ended it, if it was not cut short."""
        return list(ids[:-1] if ids and ids[-1] in self.end_ids else ids)

    def split_control(self, text: str) -> Iterator[str | int]:
        """`text` in order: plain text (str, never empty) and the ids of the control tokens between."""
        return self._control.split(text)


class Stream:
    """Ids in, text out, as soon as whole characters are there."""

    def __init__(self, tokenizer: Tokenizer, *, strip: bool, shown: Container[int] = ()) -> None:
        self._piece = tokenizer.piece
        self._is_control = tokenizer.is_control
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._shown = shown
        self._strip = strip  # the next piece is the first: drop the space before it

    def push(self, id: int) -> str:
        """The text that became complete with this id; empty for control tokens and parts of a character."""
        if self._is_control(id) and id not in self._shown:
            return ""
        piece = self._piece(id)
        if self._strip:
            piece = piece.removeprefix(b" ")
            self._strip = False
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """U+FFFD for a character that never became complete, else nothing. The stream then starts over."""
        return self._decoder.decode(b"", final=True)


def _one(id: int | None) -> tuple[int, ...]:
    return () if id is None else (id,)


def _as_unicode(text: str) -> str:
    """`text` with lone surrogates, which no tokenizer library takes, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
