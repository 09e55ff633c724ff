"""Calls of tools as models write them between markers. Each way is a function: text to calls, None where it is none."""

import ast
import json
import re
from typing import Any

from localmix.markup.parts import Call


def call_of(value: Any) -> Call | None:
    """A call from JSON, in any of the shapes that models were taught."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = value.get("name", value.get("function"))
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return Call(name, json.dumps(arguments, ensure_ascii=False))


def read_json(text: str) -> list[Call] | None:
    """One object, or a list, or several after each other."""
    decoder, values, rest = json.JSONDecoder(), list[Any](), text.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return None
        values += value if isinstance(value, list) else [value]
        rest = rest[end:].lstrip(" \n;,")
    calls = [call for value in values if (call := call_of(value)) is not None]
    return calls if calls and len(calls) == len(values) else None


def read_named(text: str) -> list[Call] | None:
    """Mistral's: name[ARGS]{…}, or name{…}, or a list of objects."""
    found = re.fullmatch(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(\{.*\})\s*", text, re.DOTALL)
    if found is None:
        return read_json(text)
    try:
        call = call_of({"name": found[1], "arguments": json.loads(found[2])})
    except (ValueError, RecursionError):
        return None
    return [call] if call else None


def read_xml(text: str) -> list[Call] | None:
    """Qwen3-Coder's: <function=name><parameter=key>value</parameter></function>, values as JSON where they are."""
    calls = []
    for name, body in re.findall(r"<function=([^>\s]+)>(.*?)(?:</function>|\Z)", text, re.DOTALL):
        pairs = re.findall(r"<parameter=([^>\s]+)>\n?(.*?)\n?(?:</parameter>|\Z)", body, re.DOTALL)
        calls.append(Call(name, json.dumps({key: _value(value) for key, value in pairs}, ensure_ascii=False)))
    return calls or read_json(text)


def read_keys(text: str) -> list[Call] | None:
    """GLM's: name, then <arg_key>key</arg_key> and <arg_value>value</arg_value>, values as JSON where they are."""
    name, _, body = text.strip().partition("<arg_key>")
    if not re.fullmatch(r"[\w.-]+\s*", name):
        return read_json(text)
    pairs = re.findall(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)", f"<arg_key>{body}", re.DOTALL)
    return [Call(name.strip(), json.dumps({key.strip(): _value(value) for key, value in pairs}, ensure_ascii=False))]


def read_gemma(text: str) -> list[Call] | None:
    """Gemma 4's: call:name{key:value,…}, texts between <|"|>."""
    found = re.fullmatch(r"\s*call:([\w.-]+)\s*(\{.*\})\s*", text, re.DOTALL)
    if found is None:
        return read_json(text)
    stretches = found[2].split('<|"|>')
    stretches[::2] = [re.sub(r"([{,]\s*)([^\s:{},\[\]\"]+)\s*:", r'\1"\2":', one) for one in stretches[::2]]
    stretches[1::2] = [json.dumps(one) for one in stretches[1::2]]
    try:
        call = call_of({"name": found[1], "arguments": json.loads("".join(stretches))})
    except (ValueError, RecursionError):
        return None
    return [call] if call else None


def read_python(text: str) -> list[Call] | None:
    """LFM2's: [name(key='value'), …], as Python writes calls."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.List) else [tree]
        calls = []
        for node in nodes:
            if not isinstance(node, ast.Call) or node.args:
                return read_json(text)
            given = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}
            calls.append(Call(ast.unparse(node.func), json.dumps(given, ensure_ascii=False)))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return read_json(text)
    return calls or None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
