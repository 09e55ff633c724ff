"""What an answer needs of a model, so that answers and conversations need not know the model itself."""

from typing import Protocol

from localmix.answer.defaults import Defaults
from localmix.answer.draft import Drafting
from localmix.answer.options import Options
from localmix.answer.sampling import Sampler
from localmix.engine.engine import Engine
from localmix.gguf import File
from localmix.template import ChatTemplate
from localmix.tokenizer import Tokenizer


class Speaker(Protocol):
    """An engine, and how its ids become text: see `localmix.model.Model`."""

    file: File
    engine: Engine
    tokenizer: Tokenizer
    template: ChatTemplate | None
    defaults: Defaults
    drafting: Drafting | None

    def sampler(self, options: Options) -> Sampler: ...
