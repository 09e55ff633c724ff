"""What clients may ask for that there is not here: it is refused by name, never left out without a word.

The fields that OpenAI, Anthropic, ollama, llama.cpp and vLLM document, that would change an answer, and that are not
carried out, each with the values at which it asks for nothing. All other unknown fields are left aside: hints of speed
and storage, names of users, parameters of samplers that are off.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_args

import msgspec
from msgspec import Raw, Struct

from localmix.server.errors import ApiError

_NO: tuple[Any, ...] = (0, False, "", [], {})
OFF: Mapping[str, Sequence[Any]] = {
    # llama.cpp's samplers and what it does with a text
    "adaptive_target": (-1,),
    "dry_multiplier": _NO,
    "dynatemp_range": _NO,
    "mirostat": _NO,
    "tfs_z": (1,),
    "top_n_sigma": (-1, 0),
    "typical_p": (1,),
    "xtc_probability": _NO,
    "min_keep": (0, 1),
    "n_indent": _NO,
    "t_max_predict_ms": (0, -1),
    "post_sampling_probs": _NO,
    "grammar_lazy": _NO,
    "grammar_triggers": _NO,
    "lora": _NO,
    "reasoning_format": ("auto", "deepseek"),
    "reasoning_budget_tokens": (-1,),
    "thinking_budget_tokens": (-1,),
    "parse_tool_calls": (True,),
    "suffix": _NO,
    "response_fields": _NO,
    "return_tokens": _NO,
    "n_probs": _NO,
    "continue_final_message": _NO,
    # vLLM's
    "allowed_token_ids": _NO,
    "bad_words": _NO,
    "chat_template": _NO,
    "documents": _NO,
    "guided_choice": _NO,
    "guided_grammar": _NO,
    "guided_json": _NO,
    "guided_regex": _NO,
    "include_stop_str_in_output": _NO,
    "length_penalty": (1,),
    "logits_processors": _NO,
    "min_tokens": _NO,
    "prompt_logprobs": (),
    "return_token_ids": _NO,
    "skip_special_tokens": (True,),
    "stop_token_ids": _NO,
    "structured_outputs": _NO,
    "truncate_prompt_tokens": (-1,),
    "use_beam_search": _NO,
    "routes": _NO,  # ours: only chats tell them
    # OpenAI's
    "audio": _NO,
    "best_of": (1,),
    "echo": _NO,
    "function_call": ("auto", "none"),
    "functions": _NO,
    "logprobs": _NO,
    "modalities": (["text"],),
    "moderation": (),
    "top_logprobs": _NO,
    "verbosity": ("medium",),
    "web_search_options": (),
    # Anthropic's
    "container": _NO,
    "mcp_servers": _NO,
    # ollama's
    "context": _NO,
    "height": _NO,
    "images": _NO,
    "steps": _NO,
    "template": _NO,
    "width": _NO,
}


def check(raw: bytes | Raw, kind: type, within: str = "") -> None:
    """ApiError: the JSON object `raw` asks for something in OFF, and `kind`, its type, has no field of that name."""
    known = _fields(kind)
    for name, value in msgspec.json.decode(raw, type=dict[str, Raw]).items():
        if name in known:
            inner = known[name]
            if inner is not None and bytes(value).startswith(b"{"):
                check(value, inner, f"{within}{name}.")
        elif name in OFF:
            asked = msgspec.json.decode(value)
            if asked is not None and asked not in OFF[name]:
                raise ApiError(400, f"{within}{name} is not supported: leave it out", param=f"{within}{name}")


@cache
def _fields(kind: type) -> dict[str, type[Struct] | None]:
    """The fields of a type, and those of them that are objects with the type of these."""
    found = {}
    for field in msgspec.structs.fields(kind):
        types = [one for one in (field.type, *get_args(field.type)) if isinstance(one, type)]
        found[field.encode_name] = next((one for one in types if issubclass(one, Struct)), None)
    return found
