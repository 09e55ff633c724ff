"""A conversation at a terminal: what commands and the loop may do with it.

Whatever ends the program, a turn that was answered is on the disk before the next message is asked for.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from localmix.answer.generate import Stats
from localmix.cli.terminal.display import Display
from localmix.cli.terminal.experts import Choices
from localmix.cli.terminal.modes import Interrupts
from localmix.cli.terminal.spoken import Spoken
from localmix.conversation import record as saved
from localmix.conversation import shelf as sessions
from localmix.conversation.chat import Chat
from localmix.conversation.reply import Reply
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.model import Model

Loader = Callable[[Path], "Model"]
FULL = "/clear starts over, /undo takes back a turn, and --when-full drop or shift leaves out the oldest"


class Talk:
    """One conversation and all that commands may change of it. `keeper` None: nothing goes to the disk."""

    def __init__(
        self, chat: Chat, options: dict[str, Any], display: Display, keeper: sessions.Keeper | None, loader: Loader
    ) -> None:
        self.chat, self.options, self.display, self.keeper = chat, options, display, keeper
        self.model = chat.model
        self.total, self.last = Stats(), None  # type: tuple[Stats, Reply | None]
        self.files: list[tuple[Path, str]] = []  # added to the next message
        self.choices = Choices()
        self.interrupts = Interrupts()
        self.left = False
        self.unfold = False  # whether thoughts are shown whole
        self._loader = loader
        self.draft: str | None = None  # the last question, being edited
        self.interrupted = self._answering = self._begun = False
        self._notices: list[str] = []
        self._unkept = ""  # why the last turn could not be saved
        self._take(chat)

    def ask(self, text: str, *, instead: bool = False) -> None:
        """Answer `text`, in the place of the last turn if `instead`: that one stays if no answer comes."""
        before = self.chat.messages
        if instead:
            self.chat.undo()
        try:
            answer = self.chat.send(self._with_files(text), progress=self._progress, **self.options)
            self._show(answer)
        finally:
            if len(self.chat.messages) < len(before):
                self.chat.messages = before

    def _show(self, answer: Reply) -> None:
        """Draw an answer as it comes, then keep it: also one that was cut short, by whatever."""
        shown = Spoken(self.display, self.unfold)
        self._answering = True
        try:
            for part in answer.parts():
                self._begun = True
                shown.add([part])
                self.interrupts.check()
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            answer.close()
            self.display.end_progress()
            shown.add(answer.rest())
            shown.end()
            self._finish(answer)

    def _finish(self, answer: Reply) -> None:
        self._answering = self._begun = False
        self.last = answer
        self.total += answer.stats
        while self._notices:
            self.display.note(self._notices.pop(0))
        self.display.lines([Text()])
        if answer.text:
            self.files.clear()
            self.keep()
        if self.interrupted:
            self.display.note("interrupted")
        elif answer.reason == "context":
            self.display.note(f"the context of {answer.room} tokens is full: the answer is cut off; {FULL}")
        elif not answer.text and not answer.calls:
            self.display.note("the model thought, but did not answer" if answer.thought else "the model gave no answer")

    def keep(self) -> None:
        """Save the conversation; a disk that is full is said, once, and nothing more."""
        if self.keeper is None:
            return
        try:
            said = self.keeper.keep(self.chat)
        except LocalmixError as error:
            if str(error) != self._unkept:
                self.display.error(str(error))
            self._unkept = str(error)
            return
        self._unkept = ""
        if said:
            self.display.note(said)

    def edit(self, question: str) -> None:
        """Let the user change `question`, which is then asked in the place of the last one."""
        self.draft = f" {question}" if question.startswith("/") else question

    def clear(self) -> None:
        """Begin a new conversation with the same system prompt."""
        self.chat.reset()
        self.files.clear()
        self.choices.forget()
        self.keeper = self.keeper and sessions.Keeper()

    def resume(self, path: Path) -> None:
        """Go on with a kept conversation, and show where it was left."""
        said = saved.load(path, self.chat)
        self.keeper = sessions.Keeper(path)
        self.files.clear()
        self.show_end()
        if said:
            self.display.note(said)

    def show_end(self) -> None:
        """The last turn of the conversation."""
        questions = [message.content for message in self.chat.messages if message.role == "user"]
        self.display.note(f"{len(questions)} turn{'s' * (len(questions) != 1)} so far{', the last:' * bool(questions)}")
        if questions:
            self.display.note(f"> {questions[-1]}")
            self.display.markdown(self.chat.messages[-1].content)

    def change_model(self, path: Path) -> None:
        """Go on with another model: the text stays, and is read by it with the next message."""
        before, after = self.chat, self._loader(path)
        chat = Chat(after, before.system, when_full=before.overflow.policy, notice=self.notice)
        with suppress(LocalmixError):  # the other model may not know what this one was told of thinking
            chat.think_so(before.think, before.effort)
        chat.messages += [type(m)(m.role, m.content) for m in before.messages if m.role != "system"]
        self._take(chat)
        self.keep()

    def notice(self, text: str) -> None:
        """A line about the conversation; during an answer it waits for the end of that."""
        if self._answering:
            self._notices.append(text)
        else:
            self.display.note(text)

    def status(self) -> str:
        """The line below the prompt."""
        used, size = len(self.chat.context.ids), self.chat.context.size
        parts = [self.model.file.path.name, f"{used:,} of {size:,} tokens"]
        if self.last is not None and self.last.stats.decode_rate:
            parts.append(f"{self.last.stats.decode_rate:.1f} t/s")
        if self.files:
            parts.append(f"{len(self.files)} file{'s' * (len(self.files) != 1)} added")
        return f" {self.display.theme.sign('dot')} ".join(parts)

    def _take(self, chat: Chat) -> None:
        self.chat, self.model = chat, chat.model
        chat.overflow.notice = self.notice
        chat.context.pause = self.interrupts.check
        self.choices.forget()
        # A device that chooses ids by itself would be slowed by telling.
        self.watched = chat.model.engine.chooses is None
        chat.context.watch = self.choices if self.watched else None

    def _progress(self, done: int, total: int) -> None:
        if not self._begun:  # an answer that goes on in a context that was full has the cursor
            self.display.progress(done, total)
        if done >= total:
            self.choices.forget()  # of the prompt: what counts is who serves the answer

    def _with_files(self, text: str) -> str:
        """The message, after the files that were added."""
        return "".join(f"{path.name}:\n{_fenced(content)}\n\n" for path, content in self.files) + text


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.removesuffix(chr(10))}\n{fence}"
