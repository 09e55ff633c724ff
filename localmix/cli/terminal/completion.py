"""Completion of commands, of option names, of the names of conversations, and of paths where one is expected."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

Arguments = Callable[[], Iterable[str]]


class Commands(Completer):
    """`arguments` tells for a command what may follow it; `paths` are the commands that take a file."""

    def __init__(self, names: Iterable[str], arguments: Mapping[str, Arguments], paths: Iterable[str]) -> None:
        self._names, self._arguments, self._paths = list(names), arguments, set(paths)
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, rest = text[1:].partition(" ")
        if not space:
            yield from (Completion(known, -len(name)) for known in self._names if known.startswith(name))
            return
        if name in self._arguments and " " not in rest:
            for known in self._arguments[name]():
                if known.startswith(rest):
                    yield Completion(known, -len(rest))
        if name in self._paths:
            yield from self._files.get_completions(Document(rest), complete_event)
