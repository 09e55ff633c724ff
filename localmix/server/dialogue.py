"""A conversation as a client sends it: to the tickets that answer it, and from their text to parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from localmix.answer.ticket import Request, Ticket
from localmix.conversation.chat import template_of
from localmix.markup import Marker, Markup, Pairs, Parser, markup_of
from localmix.markup.calls import read_json
from localmix.server import choices, tools
from localmix.server.bodies import ChatCompletion, Message, Tool
from localmix.server.errors import ApiError
from localmix.server.service import Service
from localmix.tokenizer import Tokenizer

_SWITCH = "enable_thinking"  # as most templates have it


@dataclass(frozen=True)
class Dialogue:
    """What an answer to a conversation needs: the prompt, and how its text is taken apart."""

    ids: list[int]
    family: Markup
    tokenizer: Tokenizer
    offered: Sequence[Tool]
    forced: bool  # to be a call

    @property
    def shown(self) -> frozenset[int]:
        """Control tokens that are markers."""
        return self.family.shown(self.tokenizer)

    def parts(self) -> Parser:
        """For the text of one answer."""
        if self.forced:
            return Pairs([], Marker("", self.family.call.close, read_json))
        return self.family.parser(self.ids, self.tokenizer, calls=bool(self.offered))


def dialogue_of(service: Service, body: ChatCompletion) -> Dialogue:
    """ApiError or LocalmixError: the template has no place for such messages, or such tools."""
    template, tokenizer = template_of(service.model), service.model.tokenizer
    found, offered = markup_of(template.source), tools.offered(body)
    continued = _continued(body, found)
    texts = [text_of(message, place) for place, message in enumerate(body.messages)]
    said = tools.said(body.messages, texts, offered, found)
    seen = tools.variables(offered, found) | _wanted(body, found)
    opens = body.add_generation_prompt is not False and not continued
    ids = tools.encoded(template, said, seen, add_generation_prompt=opens, continued=continued)
    forced = tools.forced(body)
    if forced:
        if not opens:
            name = "add_generation_prompt"
            raise ApiError(400, f"{name}: a call of a tool is wanted, and so the answer begun", param=name)
        begun = found.call.open + "\n" * bool(found.call.close)
        ids = [*ids, *tokenizer.encode(begun, bos=False, eos=False, control=True, first=False)]
    elif opens and seen.get(found.switch or _SWITCH) is False:  # one without that switch opens a thought nevertheless
        ids = [*ids, *found.ending(ids, tokenizer)]
    return Dialogue(ids, found, tokenizer, offered, forced)


def tickets_of(service: Service, body: ChatCompletion, talk: Dialogue, owner: str) -> list[Ticket]:
    """As many answers as are wanted. ApiError or LocalmixError: options that cannot be."""
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs without logprobs: add logprobs: true", param="top_logprobs")
    options = choices.options(service, body)
    if talk.forced:
        options = replace(options, json_schema=tools.call_schema(talk.offered), grammar=None)
    scores = (body.top_logprobs or 0) if body.logprobs else None
    routes = bool(body.routes) and service.model.network.experts > 0
    asides = partial(talk.family.asides, talk.ids, talk.tokenizer)
    continues = bool(body.continue_final_message)
    request = Request(0, talk.ids, options, scores=scores, owner=owner, shown=talk.shown, routes=routes, asides=asides,
                      continues=continues)  # fmt: skip
    return choices.tickets(service, request, body.count)


def ids_of(service: Service, messages: Sequence[Message]) -> list[int]:
    """The ids of a conversation, the answer begun."""
    return dialogue_of(service, ChatCompletion(messages=list(messages))).ids


def text_of(message: Message, place: int) -> str:
    """The text of a message. ApiError: it has parts that are not text."""
    if message.function_call is not None:
        where = f"messages[{place}].function_call"
        raise ApiError(400, f"{where} is not supported: send tool_calls", param=where)
    if message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if part.type not in ("text", "input_text", "output_text") or part.text is None:
            where = f"messages[{place}].content"
            raise ApiError(400, f"{where}: found a part of type {part.type!r}, expected text", param=where)
    return "".join(part.text or "" for part in message.content)


def _continued(body: ChatCompletion, found: Markup) -> bool:
    """Whether the answer goes on with the last message. ApiError: that cannot be."""
    if not body.continue_final_message:
        return False
    last, name = body.messages[-1], "continue_final_message"
    if body.add_generation_prompt:
        raise ApiError(400, f"{name} and add_generation_prompt: only one of them can be true", param=name)
    if last.role != "assistant" or last.tool_calls or tools.forced(body):
        raise ApiError(400, f"{name}: expected a last message of the assistant's, without a call of a tool", param=name)
    if found.harmony:
        raise ApiError(400, f"{name} is not supported for a model that answers in channels", param=name)
    return True


def _wanted(body: ChatCompletion, found: Markup) -> dict[str, Any]:
    """What the client tells the template. ApiError: a model that always thinks shall not."""
    seen = dict(body.chat_template_kwargs or {})
    think = False if body.think is None and body.reasoning_effort == "none" else body.think
    if think is False and found.harmony:
        name = "think" if body.think is False else "reasoning_effort"
        raise ApiError(400, f"{name}: this model always thinks: a low reasoning_effort keeps it short", param=name)
    if body.reasoning_effort is not None:
        seen.setdefault("reasoning_effort", body.reasoning_effort)
    if think is not None:
        seen.setdefault(found.switch or _SWITCH, think)
    return seen
