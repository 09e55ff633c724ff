"""`/openapi.json`: what may be asked, for programs that read such descriptions. It is made of the types of the bodies.

https://spec.openapis.org/oas/v3.1.0
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

import localmix

_TEXT = {"type": "string"}
_SAID = {
    "type": "object",
    "required": ["message", "type"],
    "properties": {"message": _TEXT, "type": _TEXT, "param": {"type": ["string", "null"]}},
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _SAID}}
_STATUSES = {
    "400": "something is asked for that cannot be",
    "401": "the API key is missing or wrong",
    "403": "the host or the origin is not allowed",
    "413": "the body is too large",
    "429": "too many requests wait: try again later",
    "503": "the server is starting or ending: try again later",
}


def description(gets: Iterable[str], posts: Mapping[str, type]) -> dict[str, Any]:
    """The document, given the paths of either method; those of POST with the type of their body."""
    kinds = list(dict.fromkeys(posts.values()))
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for path in gets:
        plain = path.replace(":path}", "}")
        found = paths.setdefault(plain, {})["get"] = _operation("get", plain)
        if "{" in plain:
            name = plain.partition("{")[2].rstrip("}")
            found["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]
            found["responses"]["404"] = _failure("there is none of that name")
    for path, kind in posts.items():
        found = paths.setdefault(path, {})["post"] = _operation("post", path)
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema_of[kind]}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "localmix", "version": localmix.__version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _operation(method: str, path: str) -> dict[str, Any]:
    name = method + "".join(part.capitalize() for part in path.replace("{", "").replace("}", "").split("/"))
    failures = {status: _failure(said) for status, said in _STATUSES.items()}
    return {"operationId": name, "responses": {"200": {"description": "what was asked for"}, **failures}}


def _failure(said: str) -> dict[str, Any]:
    return {"description": said, "content": {"application/json": {"schema": _ERROR}}}
