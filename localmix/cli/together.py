"""Answers a file of prompts, several at once, and says how far it is."""

import signal
import time
from typing import TYPE_CHECKING

from localmix.answer.batching import Batching
from localmix.cli.parameters import Many
from localmix.cli.prompts import Results, read
from localmix.cli.streams import note, overwrite
from localmix.cli.terminal.modes import Interrupts

if TYPE_CHECKING:
    from localmix.answer.batching import Request
    from localmix.conversation.requests import Reader
    from localmix.model import Model


def answer(reader: "Reader", model: "Model", many: Many, quiet: bool) -> bool:
    """Every request of a file that has no answer yet; whether Ctrl-C ended it."""
    assert many.file is not None
    results = Results(many.out, model)
    requests = read(reader, many.file)
    missing = results.missing(requests)
    if not quiet:
        if results.repaired:
            note(f"localmix: {many.out}: its last line was cut off: that answer will be computed again")
        if len(missing) < len(requests):
            note(f"localmix: {len(requests) - len(missing)} of {len(requests)} are already answered in {many.out}")
    if not missing:
        return False
    progress, interrupts = _Progress(len(missing), quiet), Interrupts()
    batching = Batching(
        model,
        missing,
        parallel=many.parallel,
        context=reader.context,
        progress=progress.passed,
        pause=interrupts.check,
    )
    before = signal.signal(signal.SIGINT, interrupts)
    try:
        interrupted = _write(batching, missing, results, progress)
    finally:
        signal.signal(signal.SIGINT, before)
    progress.end(model, batching, model.defaults.said(reader.options))
    return interrupted


def _write(batching: Batching, requests: "list[Request]", results: Results, progress: "_Progress") -> bool:
    """Each answer when it ends; whether Ctrl-C ended them all."""
    by_id = {request.id: request for request in requests}
    try:
        with results.opened() as put:
            for answer in batching:
                put(results.line(by_id[answer.id], answer))
                progress.answered += 1
    except KeyboardInterrupt:
        return True
    return False


class _Progress:
    """One line that overwrites itself, and one at the end."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.answered = 0
        self._total, self._quiet, self._began = total, quiet, time.monotonic()

    def passed(self, batching: "Batching") -> None:
        if self._quiet:
            return
        seconds = time.monotonic() - self._began
        left = f", {seconds / self.answered * (self._total - self.answered):.0f} s left" if self.answered else ""
        rate = batching.tokens / seconds
        overwrite(f"{self.answered} of {self._total} answered, {batching.active} at once, {rate:.1f} t/s{left}")

    def end(self, model: "Model", batching: "Batching", said: str) -> None:
        if self._quiet:
            return
        seconds = time.monotonic() - self._began
        overwrite("")
        note(
            f"localmix: {model.backend.name}, {model.backend.isa}, {self.answered} of {self._total} answered, prompts "
            f"{batching.prompt_tokens} tokens, answers {batching.tokens} tokens, {seconds:.1f} s, "
            f"{batching.tokens / seconds:.1f} t/s" + (f", {said}" if said else "")
        )
