"""An answer's text taken apart as it comes: see `localmix.markup`."""

from localmix.markup import Call, Marker, Pairs, Part, Said
from localmix.markup.calls import read_json, read_named, read_xml

Parts = Pairs

__all__ = ["Call", "Marker", "Part", "Parts", "Said", "read_json", "read_named", "read_xml"]
