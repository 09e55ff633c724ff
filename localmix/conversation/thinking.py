"""Whether a model thinks before it answers: what its template has to see, or how a prompt goes on."""

from localmix.markup import markup_of
from localmix.template import ChatTemplate, Message
from localmix.tokenizer import Tokenizer


def thinking(template: ChatTemplate, tokenizer: Tokenizer, think: bool | None, effort: str | None) -> ChatTemplate:
    """The template told so. One that always opens a thought and has no switch is followed by the end of that thought.

    LocalmixError: it has no place for that.
    """
    markup = markup_of(template.source)
    if think is False and markup.switch is None:
        opened = template.seeing(markup.variables(None, effort))
        if end := markup.ending(opened.encode([Message("user", "Hi")]), tokenizer):
            return opened.followed_by(end)
    return template.seeing(markup.variables(think, effort))
