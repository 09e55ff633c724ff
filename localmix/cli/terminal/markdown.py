"""Markdown as lines of a terminal. Code is left exactly as it is, so that it can be copied; no boxes are drawn.

`split` says which blocks of a text that still grows are finished; `lines` shows any text. What a model writes is
made harmless here: also what only appears once an entity such as `&#13;` is read.
"""

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from rich.cells import cell_len
from rich.text import Text

from localmix.cli.streams import harmless
from localmix.cli.terminal.themes import Theme

WIDEST = 100  # columns of prose: longer lines are hard to read
_RULE = 20  # columns
_TAB = 4  # columns
_WORD = re.compile(r"\S+\s*|\s+")
_GAP = 2  # columns between those of a table
_NARROW = 24  # columns of text below which a table is better a list
# A line of dashes below a paragraph would make it a heading: while "- item" arrives, that is wrong for a moment.
_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("lheading")


def split(source: str) -> tuple[str, str]:
    """The blocks that are finished, and the last one, which may still grow."""
    tokens = _parser.parse(harmless(source))
    starts = [token.map[0] for token in tokens if token.level == 0 and token.map and token.nesting >= 0]
    rows = source.split("\n")
    last = starts[-1] if len(starts) > 1 else 0
    return "".join(row + "\n" for row in rows[:last]), "\n".join(rows[last:])


def lines(source: str, width: int, theme: Theme, *, flow: bool = False) -> list[Text]:
    """The lines that show `source`, prose no wider than `width`; those of code are as long as they are.

    `flow`: the lines of a paragraph are one, as in a text that was wrapped for its file.
    """
    source = harmless(source)
    rows = source.split("\n")
    page = _Page(theme, " " if flow else "\n")
    found: list[Text] = []
    for node in SyntaxTreeNode(_parser.parse(source)).children:
        if found and node.map and not rows[node.map[0] - 1].strip():
            found.append(Text())
        found += page.block(node, max(min(width - 1, WIDEST), 1))  # a full line would be awkward to draw
    return found


class _Page:
    """Blocks and what is inside them."""

    def __init__(self, theme: Theme, between: str) -> None:
        self._theme, self._between = theme, between

    def block(self, node: SyntaxTreeNode, width: int) -> list[Text]:
        """The lines of one block."""
        match node.type:
            case "fence" | "code_block":
                text = self._theme.styled(harmless(node.content.removesuffix("\n")), "code")
                text.expand_tabs(_TAB)
                return list(text.split("\n", allow_blank=True))
            case "bullet_list" | "ordered_list":
                return list(self._items(node, width))
            case "blockquote":
                inside = self._blocks(node, width - 2)
                return [self._quoted(line) for line in inside]
            case "hr":
                return [self._theme.styled(self._theme.sign("rule") * min(width, _RULE), "quiet")]
            case "table":
                return self._table(node, width)
        text = self._inline(node)
        if node.type == "heading":
            text.stylize(self._theme.styles["heading"])
        return wrap(text, width)

    def _blocks(self, node: SyntaxTreeNode, width: int) -> list[Text]:
        """Blocks inside another; two paragraphs in a row are kept apart."""
        found: list[Text] = []
        before = ""
        for child in node.children:
            if before == child.type == "paragraph":
                found.append(Text())
            found += self.block(child, max(width, 1))
            before = child.type
        return found

    def _items(self, node: SyntaxTreeNode, width: int) -> Iterator[Text]:
        first = int(node.attrs.get("start", 1))
        for number, item in enumerate(node.children, first):
            mark = f"{number}. " if node.type == "ordered_list" else f"{self._theme.sign('bullet')} "
            inside = self._blocks(item, width - len(mark)) or [Text()]
            for index, line in enumerate(inside):
                yield Text(mark if index == 0 else " " * len(mark)) + line if line or index == 0 else line

    def _quoted(self, line: Text) -> Text:
        line = Text("> ", self._theme.styles["quiet"]) + line
        line.stylize(self._theme.styles["quote"], 2)
        return line

    def _table(self, node: SyntaxTreeNode, width: int) -> list[Text]:
        """Columns as wide as their widest cell, the widest column as wide as there is room.

        Where that would be narrow the cells are below each other.
        """
        rows = [[self._inline(cell) for cell in row.children] for part in node.children for row in part.children]
        for cell in rows[0]:
            cell.stylize(self._theme.styles["strong"])
        widths = [max(row[i].cell_len for row in rows if i < len(row)) for i in range(len(rows[0]))]
        over, widest = sum(widths) + _GAP * (len(widths) - 1) - width, widths.index(max(widths))
        if over > 0:
            widths[widest] -= over
            if widths[widest] < _NARROW:
                return self._list_of_cells(rows, width)
        rule = (" " * _GAP).join(self._theme.sign("rule") * w for w in widths)
        head, *body = (self._row(row, widths) for row in rows)
        return [*head, self._theme.styled(rule, "quiet"), *(line for lines in body for line in lines)]

    def _row(self, row: list[Text], widths: list[int]) -> list[Text]:
        cells = [wrap(cell, width) for cell, width in zip(row, widths, strict=False)]
        found = []
        for index in range(max(map(len, cells), default=0)):
            line = Text()
            for cell, width in zip(cells, widths, strict=False):
                part = cell[index] if index < len(cell) else Text()
                line = line + part + Text(" " * (width - part.cell_len + _GAP))
            line.rstrip()
            found.append(line)
        return found

    def _list_of_cells(self, rows: list[list[Text]], width: int) -> list[Text]:
        found: list[Text] = []
        for row in rows[1:] or rows:
            found += [Text()] if found else []
            for title, cell in zip(rows[0], row, strict=False):
                found += wrap(title + Text(": ") + cell, width)
        return found

    def _inline(self, node: SyntaxTreeNode) -> Text:
        """The text in a paragraph, a heading or a cell. A line of the source is a line here."""
        text, styles, links = Text(), [""], [""]
        tokens = [child for part in node.children if part.token for child in part.token.children or ()]
        for token in tokens:
            kind = token.type
            if kind.endswith("_open"):
                styles.append(self._theme.styles.get(kind.removesuffix("_open"), ""))
                links += [str(token.attrs.get("href", ""))] if kind == "link_open" else []
            elif kind.endswith("_close"):
                styles.pop()
                if kind == "link_close":
                    self._address(text, links.pop())
            else:
                style = " ".join([*styles, self._theme.styles["code"] if kind == "code_inline" else ""])
                text.append(self._between if token.type == "softbreak" else _plain(token), style.strip())
                if kind == "image":
                    self._address(text, str(token.attrs.get("src", "")))
        text.expand_tabs(_TAB)  # nobody knows how wide the terminal's are
        return text

    def _address(self, text: Text, address: str) -> None:
        """A link's address after its text, where it says more."""
        if address and address not in text.plain:
            text.append(harmless(f" ({address})"), self._theme.styles["quiet"])


def wrap(text: Text, width: int) -> list[Text]:
    """Lines of whole words, none wider than `width` but where one word is: an address is copied whole."""
    found: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        cuts, used = [], 0
        for word in _WORD.finditer(line.plain):
            size = cell_len(word.group().rstrip())
            if used and used + size > width:
                cuts.append(word.start())
                used = 0
            used += cell_len(word.group())
        found += line.divide(cuts)
    for line in found:
        line.rstrip()
    return found


def _plain(token: Token) -> str:
    if token.type == "hardbreak":
        return "\n"
    return harmless(token.content).replace("\n", " ")
