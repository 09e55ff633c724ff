"""JSON schemas as the library can keep them, and what is said of one that it cannot: which key, and where.

The library (llguidance) refuses what it does not know, but names neither the key's place nor, often, the key. Keys
that ask for nothing are left out first. https://json-schema.org/draft/2020-12
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

Schema = Mapping[str, Any]
Refuse = Callable[[Schema], str]  # what the library says against a schema

# Keys whose values are schemas, schemas by name, and lists of them. In all others words like these are data.
_ONE = ("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains",
        "propertyNames", "not", "if", "then", "else")  # fmt: skip
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_MANY = ("anyOf", "allOf", "oneOf", "prefixItems", "items")
_DEFINITIONS = ("$defs", "definitions")
_WAY = re.compile(r"\n\s*while processing .*")  # how the library came there, by references
_PLACES = 500  # where a mistake is looked for


def parse(schema: str | Schema) -> Schema:
    """A schema without keys that ask for nothing. ValueError: it is none."""
    try:
        found = json.loads(schema.removeprefix("\ufeff")) if isinstance(schema, str) else schema
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno} column {error.colno}: {error.msg}, expected JSON") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if found is True:
        found = {}
    if not isinstance(found, Mapping):
        raise ValueError(f'found {json.dumps(found)[:40]}, expected an object such as {{"type": "object"}}')
    return _plain(found)


def explained(schema: Schema, refusal: str, refuse: Refuse) -> str:
    """Where in a schema it comes from what the library said against all of it, and what to do."""

    said = _WAY.sub("", refusal)

    def says_so(part: Schema) -> bool:
        return _WAY.sub("", refuse({key: schema[key] for key in _DEFINITIONS if key in schema} | dict(part))) == said

    places = islice(_places(schema, ""), _PLACES)
    pointer, part = next((place for place in places if says_so(place[1])), ("", schema))
    keys = [key for key in part if says_so({key: part[key]})] or [key for key in part if key in said]
    return f"{', '.join(keys[:3]) or 'the schema'} at #{pointer}: {_reason(said)}"


def _plain(schema: Schema) -> Schema:
    """A schema, and those in it, without keys that any value satisfies."""
    idle = _idle(schema)
    found = {key: value for key, value in schema.items() if key not in idle}
    for key, value in found.items():
        if key in _NAMED and isinstance(value, Mapping):
            found[key] = {name: _plain(one) if isinstance(one, Mapping) else one for name, one in value.items()}
        elif key in _MANY and isinstance(value, list):
            found[key] = [_plain(one) if isinstance(one, Mapping) else one for one in value]
        elif key in _ONE and isinstance(value, Mapping):
            found[key] = _plain(value)
    return found


def _idle(schema: Schema) -> set[str]:
    """The keys that ask for nothing here."""
    most = schema.get("maxItems")
    few = isinstance(most, int) and most <= 1
    nothing = {
        "uniqueItems": schema.get("uniqueItems") is False or few,
        "contains": schema.get("minContains") == 0 and "maxContains" not in schema,
        "minContains": "contains" not in schema or schema.get("minContains") == 0,
        "maxContains": "contains" not in schema,
        "if": "then" not in schema and "else" not in schema,
        "then": "if" not in schema,
        "else": "if" not in schema,
        "not": schema.get("not") is False,
        "x-guidance": True,  # not of JSON Schema: it would make the library less strict
    }
    for key in ("propertyNames", "unevaluatedItems", "unevaluatedProperties"):
        nothing[key] = schema.get(key) in (True, {})
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        nothing[key] = schema.get(key) == {}
    return {key for key, so in nothing.items() if so}


def _places(schema: Schema, pointer: str) -> Iterator[tuple[str, Schema]]:
    """The schemas in a schema by their JSON pointers: those that others refer to, then inner ones, itself last."""
    for key, value in sorted(schema.items(), key=lambda item: item[0] not in _DEFINITIONS):
        inner: dict[str, Any] = {}
        if key in _NAMED and isinstance(value, Mapping):
            inner = {f"/{name.replace('~', '~0').replace('/', '~1')}": one for name, one in value.items()}
        elif key in _MANY and isinstance(value, list):
            inner = {f"/{number}": one for number, one in enumerate(value)}
        elif key in _ONE:
            inner = {"": value}
        for name, one in inner.items():
            if isinstance(one, Mapping):
                yield from _places(one, f"{pointer}/{key}{name}")
    yield pointer, schema


def _reason(refusal: str) -> str:
    """What the library says, in words that help, without its own source."""
    if refusal.startswith("Unimplemented keys"):
        return "cannot be enforced: leave it out and check the answer yourself, or express it another way"
    if refusal.startswith("oneOf"):
        return "overlapping choices cannot be enforced: use anyOf"
    if refusal.startswith("Unknown format"):
        return f"{refusal[0].lower()}{refusal[1:]}: leave it out, or use a pattern"
    lines = [line.strip() for line in refusal.split("\n") if line.strip()]
    return re.sub(r":?\s*\(.*\(Regex .*", "", lines[-1].removeprefix("error: "))[:200] if lines else refusal
