"""Chat templates: from messages to the ids of a prompt, with the template that a model file carries.

`chat` is what the program uses; `mistral` encodes Mistral's formats as Mistral does; `sandbox` renders every other
template in bounded Jinja. Nothing here knows a model or the command line.
"""

from localmix.template.chat import ChatTemplate
from localmix.template.message import Message

__all__ = ["ChatTemplate", "Message"]
