"""Ids become the text of an answer, one at a time, until something ends it.

What ends an answer from inside is decided here: the model's own end, a stop string, the limit. Whoever computes
the ids, for one answer or for many at once, asks this for each, and says when the context is full.
"""

from collections.abc import Container
from typing import Literal

from localmix.answer.options import Options
from localmix.answer.stops import Asides, Stops
from localmix.tokenizer import Tokenizer

Reason = Literal["end", "stop", "length", "context", "interrupted"]


class Text:
    """One answer. `ids` are those so far, the one that ends a text left out; `ended` says whether there may be more.

    `reason` says why it ended: "end" by the model, "stop" by a stop string, "length" by max_tokens, "context" when
    that is full, "interrupted" as long as it has not ended.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        options: Options,
        *,
        keep_space: bool,
        shown: Container[int] = (),
        asides: Asides | None = None,
    ) -> None:
        """`keep_space`: a space at the beginning counts. `shown`: control tokens that are text. `asides`: where stop
        strings do not count.
        """
        self.ids: list[int] = []
        self.reason: Reason = "interrupted" if options.max_tokens != 0 else "length"
        self._end_ids = tokenizer.end_ids
        self._stream = tokenizer.stream(keep_space=keep_space, shown=shown)
        self._stops = Stops(options.stop, asides)
        self._limit = options.max_tokens

    @property
    def ended(self) -> bool:
        return self.reason != "interrupted"

    @property
    def stopped_by(self) -> str | None:
        """The stop string that ended it."""
        return self._stops.found

    def push(self, id: int) -> str:
        """The text that is certain with this id; nothing of a stop string is ever seen."""
        if id in self._end_ids:
            self.reason = "end"
            return self.rest()
        self.ids.append(id)
        piece = self._stops.push(self._stream.push(id))
        if self._stops.found is not None:
            self.reason = "stop"
        elif len(self.ids) == self._limit:
            self.reason = "length"
            piece += self.rest()
        return piece

    def rest(self) -> str:
        """What was held back: no more ids come."""
        return self._stops.push(self._stream.flush()) + self._stops.flush()
