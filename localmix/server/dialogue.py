"""A client's messages as the ids of a prompt."""

from collections.abc import Sequence

from localmix.conversation.chat import template_of
from localmix.server.bodies import ChatCompletion, Message
from localmix.server.errors import ApiError
from localmix.server.service import Service
from localmix.template import Message as Said

_ROLES = {"developer": "system"}


def prompt_of(service: Service, body: ChatCompletion) -> list[int]:
    """ApiError or LocalmixError: the template has no place for such messages."""
    return ids_of(service, body.messages)


def ids_of(service: Service, messages: Sequence[Message]) -> list[int]:
    """The ids of a conversation, the answer begun."""
    said = [Said(_ROLES.get(one.role, one.role), text_of(one, place)) for place, one in enumerate(messages)]
    return template_of(service.model).encode(said)


def text_of(message: Message, place: int) -> str:
    """The text of a message. ApiError: it has parts that are not text."""
    if message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if part.type not in ("text", "input_text", "output_text") or part.text is None:
            where = f"messages[{place}].content"
            raise ApiError(400, f"{where}: found a part of type {part.type!r}, expected text", param=where)
    return "".join(part.text or "" for part in message.content)


def systems_first(messages: Sequence[Said]) -> list[Said]:
    """One system message at the beginning: many templates know no other."""
    texts = [message.content for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    return [Said("system", "\n\n".join(texts))] * bool(texts) + rest
