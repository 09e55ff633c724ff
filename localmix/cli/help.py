"""`localmix help [TOPIC]`: the pages of localmix/help in the terminal, and the lines on them that have a word."""

import shutil
import sys
from typing import Annotated

import typer

from localmix import help as pages
from localmix.cli.streams import write

_MOST = 24  # lines that are shown for a word


def help(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC", help="A topic, or words to look for.", show_default="the list of topics"),
    ] = None,
) -> None:
    """Show a page of help, or the lines of all pages that have a word.

    Examples: localmix help, localmix help models, localmix help top-p.
    """
    show(text_for(" ".join(words or ())))


def text_for(asked: str) -> str:
    """Markdown: the list of topics, a page, or what was found. LocalmixError: nothing was."""
    if not asked:
        return index()
    if (topic := pages.topic(asked)) is not None:
        return pages.page(topic)
    if hits := pages.search(asked):
        return found(asked, hits)
    if (topic := pages.slip(asked)) is not None:
        return f"No page is called {asked}; the nearest is {topic}.\n\n{pages.page(topic)}"
    raise pages.unknown(asked)


def index() -> str:
    """The list of topics."""
    rows = "\n".join(f"| {topic} | {pages.title(topic)} |" for topic in pages.TOPICS)
    return (
        f"# Help\n\n| topic | |\n|---|---|\n{rows}\n\n"
        "`localmix help TOPIC` shows a page, `localmix help WORD` the lines that have a word,\n"
        "`localmix COMMAND --help` the options of a command.\n"
    )


def found(asked: str, hits: list[pages.Hit]) -> str:
    """The lines that have what was asked for, by page."""
    text, before = f"# {asked}\n", ""
    for hit in hits[:_MOST]:
        if hit.topic != before:
            text += f"\n`localmix help {hit.topic}`\n\n"
        before = hit.topic
        cells = [cell.strip() for cell in hit.line.strip("|").split("|")] if hit.line.startswith("|") else [hit.line]
        text += f"- {hit.section}: {', '.join(cell for cell in cells if cell).lstrip('-# ')}\n"
    left = len(hits) - _MOST
    return text + (f"\n{left} more lines have it: add a word.\n" if left > 0 else "")


def show(source: str) -> None:
    """Draw Markdown in a terminal, a screen at a time; elsewhere it is written as it is."""
    if not sys.stdout.isatty():
        write(source)
        return
    from localmix.cli.pager import paged
    from localmix.cli.terminal import markdown, themes

    console, theme = themes.console(), themes.choose()
    with console.capture() as capture:
        for line in markdown.lines(source, shutil.get_terminal_size().columns, theme, flow=True):
            console.print(line, soft_wrap=True)
    paged(capture.get())
