"""Files of `localmix run --file`: a prompt a line in, an answer a line out, taken up where an earlier run stopped.

A line is a JSON string, or an object with `prompt` or `messages`, and with any of `id`, `system` and the options of
an answer. Each answer names its request by a digest, so that a file of other prompts is never taken for these.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from localmix.cli.streams import json_text, write
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.answer.batching import Answer, Request
    from localmix.conversation.requests import Reader
    from localmix.model import Model


def read(reader: "Reader", path: Path) -> "list[Request]":
    """All requests of a file ("-": stdin). LocalmixError: the first line that is wrong, before any is answered."""
    found, seen = [], set()
    for number, line in _lines(path):
        try:
            request = reader.request(number, json.loads(line))
        except (LocalmixError, ValueError, RecursionError) as error:
            raise LocalmixError(f"{path} line {number}: {error}") from None
        if request.id in seen:
            raise LocalmixError(f"{path} line {number}: the id {request.id!r} appears twice: give each line its own")
        seen.add(request.id)
        found.append(request)
    return found


class Results:
    """The file of answers: those that are there, and a place for more."""

    def __init__(self, path: Path | None, model: "Model") -> None:
        """`path` None: stdout. LocalmixError: a file that holds something else."""
        from localmix.conversation import record as saved

        self.path, self.repaired, self._speaker = path, False, model
        self._model = saved.identity(model.file.path)
        self._done = self._read(path) if path is not None else {}

    def missing(self, requests: "list[Request]") -> "list[Request]":
        """Requests without an answer. LocalmixError: one was answered for another prompt, model or options."""
        for request in requests:
            if self._done.get(request.id, self.digest(request)) != self.digest(request):
                raise LocalmixError(
                    f"{self.path}: {request.id!r} was answered for another prompt, model or options: "
                    "name another file, or delete this one"
                )
        return [request for request in requests if request.id not in self._done]

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], None]]:
        """A place for lines; each is whole in the file before the next begins."""
        if self.path is None:
            yield write
            return
        try:
            with self.path.open("a", encoding="utf-8", buffering=1, newline="\n") as file:
                yield lambda line: print(line, end="", file=file, flush=True)
        except OSError as error:
            raise LocalmixError(f"{self.path}: cannot be written: {error.strerror}") from None

    def line(self, request: "Request", answer: "Answer") -> str:
        """An answer as a line of the file."""
        row = {
            "id": answer.id,
            **self._parts(request, answer.text),
            "reason": answer.reason,
            "tokens": len(answer.ids),
            "prompt_tokens": answer.prompt_tokens,
            "seed": answer.seed,
            "request": self.digest(request),
        }
        return json_text(row, encoding=None if self.path is None else "utf-8")

    def _parts(self, request: "Request", text: str) -> dict[str, str]:
        """What is said, and what was thought before it, if anything was."""
        from localmix.markup import Said, markup_of

        if request.continues or self._speaker.template is None:
            return {"text": text}
        tokenizer = self._speaker.tokenizer
        parser = markup_of(self._speaker.template.source).parser(request.prompt, tokenizer, bare=True)
        found: dict[str, list[str]] = {"content": [], "reasoning": []}
        for part in [*parser.push(text), *parser.end()]:
            if isinstance(part, Said):
                found[part.kind].append(part.text)
        thought = "".join(found["reasoning"])
        return {"text": "".join(found["content"])} | ({"thinking": thought} if thought else {})

    def digest(self, request: "Request") -> str:
        """Names everything that the answer depends on."""
        content = [self._model, list(request.prompt), vars(request.options), request.continues]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def _read(self, path: Path) -> dict[str | int, str]:
        """Digests by id. A last line that a kill has torn is cut off."""
        raw = path.read_bytes() if path.exists() else b""
        whole = raw[: raw.rfind(b"\n") + 1]
        done = {}
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                done[row["id"]] = row["request"]
            except (ValueError, TypeError, KeyError):
                raise LocalmixError(
                    f"{path} line {number}: not an answer of localmix run --file: name another file"
                ) from None
        if len(whole) < len(raw):
            with path.open("r+b") as file:
                file.truncate(len(whole))
            self.repaired = True
        return done


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that say something, with their numbers."""
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise LocalmixError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            yield number, line
