"""What Hugging Face adds to Jinja for chat templates.

Source: https://huggingface.co/docs/transformers/chat_templating_writing
"""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

_MAX_DATE_FORMAT = 100  # characters


class RefusedError(Exception):
    """The template called raise_exception: it does not want these messages."""


class GenerationTag(Extension):
    """`{% generation %}` marks what a model wrote, for training; here it only prints what it encloses."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        """The block as a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def raise_exception(message: object) -> None:
    """How a template says what is wrong with the messages."""
    raise RefusedError(str(message))


def strftime_now(pattern: str) -> str:
    """The date and time of now; widths, which could be millions, are not allowed."""
    if len(pattern) > _MAX_DATE_FORMAT or re.search(r"%[^%a-zA-Z]*\d", pattern):
        raise RefusedError("strftime_now was given a format that is too long or has widths")
    return datetime.now().strftime(pattern)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without Jinja's escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


FUNCTIONS: dict[str, Callable[..., Any]] = {"raise_exception": raise_exception, "strftime_now": strftime_now}
