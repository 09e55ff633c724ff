"""Whether a field that clients know could be left out without a word.

    python tests/peers/fields.py llama.cpp/tools/server/server-schema.cpp

By hand, in an environment with openai, anthropic and ollama, whose types say what they send; what llama-server reads
is in its source. Each field is either carried out, refused by name where it asks for something, or on the list below
because it changes no answer. What is none of these is printed, and fails.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_type_hints

from localmix.server import anthropic_body, bodies, native, ollama, responses_body
from localmix.server.unsupported import OFF

HARMLESS: dict[str, str] = {
    "names and accounts": "user metadata safety_identifier user_profile_id workspace_id service_tier billing_policy "
    "access_programs diagnostics fallback_credit_token betas",
    "where and how it is computed": "inference_geo speed prediction cache_prompt id_slot n_cache_reuse "
    "backend_sampling cache_control prompt_cache_key prompt_cache_options prompt_cache_retention keep_alive numa "
    "num_ctx num_batch num_gpu main_gpu low_vram f16_kv logits_all vocab_only use_mmap use_mlock embedding_only "
    "num_thread speculative.n_max speculative.n_min speculative.p_min speculative.type speculative.ngram_size_n "
    "speculative.ngram_size_m speculative.ngram_min_hits background_options",
    "what is kept for later": "store thread compaction context_management",
    "of samplers and settings that are off": "adaptive_decay dry_base dry_allowed_length dry_penalty_last_n "
    "dry_sequence_breakers dynatemp_exponent mirostat_eta mirostat_tau xtc_threshold penalize_newline "
    "reasoning_budget_start_tag reasoning_budget_end_tags reasoning_budget_message reasoning_control",
    "of contexts that are shifted, which an answer's is not": "n_keep n_discard num_keep truncation",
    "of tools that the server runs, which it does not": "max_tool_calls",
    "more than the answer": "verbose sse_ping_interval stream_options include_usage",
    "what llama-server does not read either": "t_max_prompt_ms",
    "what a template and its reading are, which is found out": "chat_format chat_parser generation_prompt "
    "preserved_tokens grammar_type",
    "another model after a failure": "fallbacks",
    "of pictures that it makes": "image",
}


def known(kind: Any) -> set[str]:
    """The fields of one of our types."""
    return set(kind.__struct_fields__)


def hints(kind: Any) -> set[str]:
    return set(getattr(kind, "model_fields", None) or get_type_hints(kind))


def asked(schema: Path) -> Iterable[tuple[str, set[str], set[str]]]:
    """Interfaces: what clients know, and what is carried out."""
    import ollama._types as ollama_types
    from anthropic.types import message_create_params as messages
    from anthropic.types.beta import message_create_params as beta
    from openai.types import completion_create_params as text
    from openai.types.chat import completion_create_params as chat
    from openai.types.responses import response_create_params as newer

    native_fields = set(re.findall(r'field_\w+\("([^"]+)"', schema.read_text()))
    yield "chat completions", hints(chat.CompletionCreateParamsBase), known(bodies.ChatCompletion)
    yield "completions", hints(text.CompletionCreateParamsBase), known(bodies.Completion)
    yield "responses", hints(newer.ResponseCreateParamsBase), known(responses_body.ResponsesBody)
    for kind in (messages, beta):
        yield "messages", hints(kind.MessageCreateParamsBase), known(anthropic_body.MessagesBody)
    yield "ollama's chat", hints(ollama_types.ChatRequest), known(ollama.Chat)
    yield "ollama's generate", hints(ollama_types.GenerateRequest), known(ollama.Generate)
    yield "ollama's options", hints(ollama_types.Options), known(ollama.OllamaOptions)
    for place, kind in (("/completion", native.Native), ("chat completions", bodies.ChatCompletion)):
        yield f"llama.cpp's {place}", native_fields, known(kind)


def main() -> None:
    harmless = set(" ".join(HARMLESS.values()).split())
    lost = 0
    for place, names, carried in asked(Path(sys.argv[1])):
        left = sorted(names - carried - OFF.keys() - harmless)
        lost += len(left)
        print(f"{place}: {len(names)} fields, {len(names & carried)} carried out, {len(names & OFF.keys() - carried)} "
              f"refused by name; left out: {', '.join(left) or 'none'}")  # fmt: skip
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
