"""The answer to a message: what is said, and apart from it what was thought and which tools were called."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from localmix.answer.generate import Generation
from localmix.answer.options import Options
from localmix.answer.speaker import Speaker
from localmix.engine.context import Context
from localmix.markup import Call, Markup, Part, Said


class Reply(Generation):
    """A generation that gives out what is said. `parts` gives everything, in order; take one or the other.

    `text` is what was said so far, `thought` what was thought, `calls` are tools that were called: these are all that
    is certain, given out or not. `whole`: whether the text is all that was written, no marker nor thought left out.
    """

    def __init__(
        self,
        speaker: Speaker,
        context: Context,
        prompt: Sequence[int],
        options: Options,
        markup: Markup,
        *,
        on_end: Callable[["Reply"], None],
        **how: Any,
    ) -> None:
        """As a Generation. An answer that is held to a schema or grammar begins where that does: it has no header."""
        shown = markup.shown(speaker.tokenizer)
        asides = partial(markup.asides, prompt, speaker.tokenizer)
        super().__init__(speaker, context, prompt, options, shown=shown, asides=asides, on_end=self._ended, **how)
        self._parser = markup.parser(prompt, speaker.tokenizer, bare=True)
        self._found: deque[Part] = deque()
        self._after = on_end
        self._written = 0  # signs, with all markers
        self.thought = ""
        self.calls: list[Call] = []

    @property
    def whole(self) -> bool:
        return self._written == len(self.text)

    def parts(self) -> Iterator[Part]:
        """All parts as they become certain."""
        while True:
            while self._found:
                yield self._found.popleft()
            try:
                piece = next(self._pieces)
            except StopIteration:
                break
            self._written += len(piece)
            self._take(self._parser.push(piece))
        yield from self.rest()

    def rest(self) -> list[Part]:
        """What is certain and was not given out: after an end that came from outside."""
        found = list(self._found)
        self._found.clear()
        return found

    def __next__(self) -> str:
        for part in self.parts():
            if isinstance(part, Said) and part.kind == "content":
                return part.text
        raise StopIteration

    def _take(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if isinstance(part, Call):
                self.calls.append(part)
            elif part.kind == "content":
                self.text += part.text
            else:
                self.thought += part.text
        self._found += parts

    def _ended(self, answer: Generation) -> None:
        self._take(self._parser.end())
        self._after(self)
