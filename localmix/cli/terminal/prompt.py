"""Asks for a message: several lines, history across sessions, and completion.

Enter sends; Alt-Enter, or a backslash at the end of a line, begins another; what is pasted arrives whole.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.completion import Completer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from localmix.cli.streams import harmless, note
from localmix.cli.terminal.modes import Interrupts
from localmix.cli.terminal.plain import MORE, SIGN

_MENU = 6  # lines
_LONGEST = 1 << 20  # bytes of history
_STYLE = Style.from_dict({"bottom-toolbar": "noreverse dim"})
Reader = Callable[[str], str]  # takes what stands there at first; EOFError, KeyboardInterrupt: the user leaves


def reader(
    history: Path | None, completer: Completer, status: Callable[[], str] | None, interrupts: Interrupts
) -> Reader:
    """Asks in a terminal that can do everything. `history` None: it ends with the program. `status`: the last line."""
    session: PromptSession[str] = PromptSession(
        message=SIGN,
        multiline=True,
        prompt_continuation=MORE,
        key_bindings=_keys(),
        history=_history(history),
        completer=completer,
        complete_while_typing=Condition(lambda: session.default_buffer.text.startswith("/")),
        reserve_space_for_menu=_MENU,
        bottom_toolbar=(lambda: FormattedText([("", harmless(status()))])) if status else None,
        style=_STYLE,
    )

    def read(first: str) -> str:
        asked = _Asked(session.app)
        try:
            with interrupts.told(asked.wake):
                return session.prompt(default=first, handle_sigint=False, pre_run=asked.begin)
        except _Woken:
            interrupts.check()
            raise

    return read


class _Woken(Exception):
    """A signal ended the prompt; one that came after Enter waits for the answer."""


class _Asked:
    """One prompt, which may be ended where nothing is torn apart: in the loop of the application."""

    def __init__(self, app: Application[str]) -> None:
        self._app = app
        self._begun = self._woken = False

    def begin(self) -> None:
        self._begun = True
        if self._woken:  # before anybody could ask
            self._leave()

    def wake(self) -> None:
        self._woken = True
        if self._begun and self._app.loop is not None:
            self._app.loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        if self._app.is_running and not self._app.is_done:
            self._app.exit(exception=_Woken, style="class:aborting")


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys


def _history(file: Path | None) -> History:
    """What was typed, in a file that nobody else may read and that does not grow for ever."""
    if file is None:
        return InMemoryHistory()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
        if file.stat().st_size > _LONGEST:
            end = file.read_bytes()[-_LONGEST // 2 :]
            file.write_bytes(end[end.find(b"\n\n") + 1 :])  # from the beginning of an entry
        return _Kept(str(file))
    except OSError as error:
        note(f"localmix: {file}: the history cannot be saved: {error.strerror}")
        return InMemoryHistory()


class _Kept(FileHistory):
    """A disk that is full, or gone, since the beginning ends no conversation."""

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)
