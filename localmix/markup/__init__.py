"""What a model's text is made of: what it says, what it thinks, and which tools it calls.

`markup_of` finds by the chat template how a model marks them; the parser that it gives takes text as it comes, and
gives parts of it. Nothing here knows a model, a terminal or a server.
"""

from localmix.markup.family import Markup, markup_of
from localmix.markup.pairs import Marker, Pairs
from localmix.markup.parts import Call, Parser, Part, Said

__all__ = ["Call", "Marker", "Markup", "Pairs", "Parser", "Part", "Said", "markup_of"]
