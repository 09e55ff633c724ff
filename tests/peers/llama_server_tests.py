"""Runs llama-server's own tests against this server, and says which were left out and why.

By hand, in an environment that has localmix, pytest, requests, filelock and openai; FOLDER is tools/server/tests of
llama.cpp's source, MODEL a GGUF file of stories260K, which most of those tests are written for:
    python tests/peers/llama_server_tests.py FOLDER MODEL.gguf [options of pytest, such as -k completion]
The tests start a program with llama-server's options: this script again, which translates them. They are run as they
are, but for the texts that they expect, as another generator of random numbers tells another story; for capitals in
names of headers, which HTTP has not; and for the first delta of a stream, whose text is empty here, as OpenAI's is,
and null there.
"""

import argparse
import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Tests by the ends of their names, and why they are left out.
_TOOLS = "tools that the server runs: it runs none here"
_OTHER = "other models: pictures, embeddings, ranking, adapters, drafts"
_VERBOSE = "__verbose, the prompt in the answer: /apply-template tells it here"
_THINKS = "thinking switched on unasked: here a template hears what the request says, as with transformers"
_NAMES = "names of metrics: vLLM's are told here"
_FOREIGN = "pages of any site may ask there: here they are refused with 403"
LEFT: Mapping[str, str] = {
    "test_router.py*": "several models: a server has one here",
    "test_stream.py*": "streams taken up again after a disconnect: here that ends the answer, and frees its place",
    "test_mcp_servers.py*": _TOOLS,
    "test_tools_builtin.py*": _TOOLS,
    "test_proxy.py*": _TOOLS,
    "test_embedding.py*": _OTHER,
    "test_rerank.py*": _OTHER,
    "test_vision_api.py*": _OTHER,
    "test_lora.py*": _OTHER,
    "test_infill.py*": "/infill: text in the middle of others is not written here",
    "test_speculative.py*": _OTHER,
    "test_slot_save.py*": "slots kept in files: prompts are remembered in memory here",
    "test_kv_keep_only_active.py*": "slots kept in memory when idle: prompts are remembered by their text here",
    "test_ctx_shift.py::test_ctx_shift_disabled_short_prompt?-1*": "one token fewer: here the last needs no place",
    "test_ctx_shift.py::test_ctx_shift_enabled": "contexts that are shifted: here an answer ends where they are full",
    "test_sleep.py*": "a model unloaded when idle: it is mapped here, and costs nothing",
    "test_compat_gcp.py*": "a cloud's wrapping of requests",
    "test_metrics.py::test_metrics_disabled": "/metrics switched off: it stays here",
    "test_metrics.py::test_metrics_prometheus_format": _NAMES,
    "test_metrics.py::test_metrics_prompt_processed_and_cached": _NAMES,
    "test_metrics.py::test_metrics_predicted_total_matches_requests": _NAMES,
    "test_metrics.py::test_metrics_embedding_prompt_is_counted": _OTHER,
    "test_basic.py::test_server_multiple_addresses": "two addresses: a server has one here",
    "test_basic.py::test_server_slots": "/slots switched off: it tells no text here, and stays",
    "test_basic.py::test_no_ui": "the page switched off: it stays here",
    "test_basic.py::test_load_split_model": _OTHER,
    "test_basic.py::test_server_model_aliases_and_tags": "several names and tags: a model has one name here",
    "test_completion.py::test_n_probs_post*": "probabilities after sampling: refused by name here",
    "test_chat_completion.py::test_chat_completion?None-Book-user_prompt*": "parts of a text joined by a new line",
    "test_chat_completion.py::test_chat_completion_cached_tokens": "exact counts: pages are remembered here",
    "test_chat_completion.py::test_chat_template": _VERBOSE,
    "test_chat_completion.py::test_chat_template_assistant_prefill*": _VERBOSE,
    "test_chat_completion.py::test_verbose_debug": _VERBOSE,
    "test_chat_completion.py::test_apply_chat_template": "templates known by name: files have theirs here",
    "test_chat_completion.py::test_return_progress*": "exact numbers of pieces of a prompt: time decides here",
    "test_security.py::test_access_static_assets_without_api_key": "files of another page",
    "test_security.py::test_cors_options*": _FOREIGN,
    "test_security.py::test_cors_origins_localhost_rejects*": _FOREIGN,
    "test_security.py::test_cors_origins_defaults*": _TOOLS,
    "test_security.py::test_cors_proxy*": _TOOLS,
    "test_security.py::test_local_media_file*": _OTHER,
    "test_chat_completion.py::test_invalid_chat_completion_req?messages7*": "two answers in a row",
    "test_template.py::test_date_inside_prompt*": "date_string, which only llama-server gives to templates",
    "test_template.py::test_reasoning?deepseek*-on-*": _THINKS,
    "test_template.py::test_reasoning?*-32B-auto-*": _THINKS,
    "test_template.py::test_reasoning?Cohere*-auto-*": _THINKS,
    "test_tool_call.py::*tools1*": "prompts of more tokens than the context that the small model was trained for",
    "test_compat_oai_responses.py::*_telemetry": "a cut answer told as completed: OpenAI says incomplete",
    "test_compat_anthropic.py::*image": "pictures are refused with 400 here, with 500 there",
    "test_compat_anthropic.py::*vision*": "pictures are refused with 400 here, with 500 there",
    "test_compat_anthropic.py::test_anthropic_empty_messages": "no message at all: refused here, as Anthropic does",
}
HELD = ("format", "schema", "grammar")  # tests whose texts are held to something, and so are the same everywhere


class Plugin:
    """Chooses among the tests, and counts what is left out."""

    def __init__(self) -> None:
        self.left: Counter[str] = Counter()
        self.running = ""

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        kept, left = [], []
        for item in items:
            reason = why(item)
            if reason is None:
                kept.append(item)
            else:
                self.left[reason] += 1
                left.append(item)
        config.hook.pytest_deselected(items=left)
        items[:] = kept

    def pytest_runtest_setup(self, item: Any) -> None:
        self.running = item.name

    def matches(self, real: Any) -> Any:
        return lambda regex, text: real(regex, text) if any(word in self.running for word in HELD) else True


def why(item: Any) -> str | None:
    """The reason why a test is left out."""
    if item.get_closest_marker("slow") is not None:
        return "needs a model of gigabytes (marked as slow)"
    name = item.nodeid.removeprefix("unit/")
    return next((reason for pattern, reason in LEFT.items() if fnmatch(name, pattern)), None)


def judge(folder: Path, model: Path, options: list[str]) -> int:
    import pytest

    sys.modules["wget"] = ModuleType("wget")  # would only fetch models
    sys.path.insert(0, str(folder))
    utils: Any = __import__("utils")
    plugin = Plugin()
    utils.ServerPreset.load_all = staticmethod(lambda: None)
    utils.match_regex = plugin.matches(utils.match_regex)
    utils.ServerProcess.make_request = plain_headers(utils.ServerProcess.make_request)
    with tempfile.TemporaryDirectory() as place:
        program = Path(place, "llama-server")
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" --serve "{model}" "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        os.environ["LLAMA_SERVER_BIN_PATH"] = str(program)
        os.chdir(folder)
        found = pytest.main(["-q", "-p", "no:cacheprovider", "--tb=short", *options], plugins=[plugin])
    for reason, count in plugin.left.most_common():
        print(f"{count:4} left out: {reason}")
    return int(found)


def plain_headers(real: Any) -> Any:
    """A request whose answer has headers by any spelling."""
    from requests.structures import CaseInsensitiveDict

    def make_request(*given: Any, **more: Any) -> Any:
        found = real(*given, **more)
        found.headers = CaseInsensitiveDict(found.headers)
        return found

    return make_request


def told(prepared: Any, json: Any) -> tuple[Any, Any]:
    """The same, with the prompt of the latest request in its answer, as llama-server has it when it is verbose."""
    latest: list[Any] = []

    def preparing(*given: Any) -> Any:
        found = prepared(*given)
        latest[:] = [found[0]]
        return found

    def answering(content: Any) -> Any:
        (talk,) = latest
        return json({**content, "__verbose": {"prompt": talk.tokenizer.decode(talk.ids)}})

    return preparing, answering


def serve(given: list[str]) -> None:
    """This server, started with llama-server's options."""
    import localmix
    from localmix.answer.defaults import Defaults
    from localmix.server import chat, dialogue, start
    from localmix.server.service import Service
    from localmix.template import ChatTemplate

    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--alias")
    parser.add_argument("--api-key")
    parser.add_argument("--ctx-size", type=int)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--kv-unified", action="store_true")
    parser.add_argument("--n-predict", type=int)
    parser.add_argument("--temp", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--chat-template")
    parser.add_argument("--chat-template-file", type=Path)
    parser.add_argument("--reasoning")
    parser.add_argument("--verbose", action="store_true")
    asked, _ = parser.parse_known_args(given)
    model = localmix.load(asked.model)
    source = asked.chat_template_file.read_text() if asked.chat_template_file else asked.chat_template
    if source and "{" not in source and " " not in source:
        source = CHATML  # llama.cpp knows some templates by name
    model.template = ChatTemplate(source or CHATML, model.tokenizer)
    values = {"temp": asked.temp, "seed": asked.seed, "max_tokens": asked.n_predict}
    model.defaults = Defaults({name: value for name, value in values.items() if value is not None})
    Service.fingerprint = property(lambda self: "b0-localmix")  # type: ignore[assignment, method-assign]
    chat._Answer.first = lambda self: self._choice({"role": "assistant", "content": None})  # type: ignore[method-assign]
    if asked.verbose:
        chat.prepared, chat.json = told(chat.prepared, chat.json)
    if asked.reasoning == "off":
        wanted = dialogue._wanted

        def without(body: Any, found: Any) -> dict[str, Any]:
            body.think = False
            return wanted(body, found)

        dialogue._wanted = without
    share = 1 if asked.kv_unified else asked.parallel
    settings = start.Settings(
        host=asked.host,
        port=asked.port,
        keys=[asked.api_key] if asked.api_key else [],
        name=asked.alias,
        parallel=asked.parallel,
        context=min(asked.ctx_size // share, model.network.context) if asked.ctx_size else None,
        memory=256 << 20,
    )
    listening = start.listen(settings)
    start.serve(start.service(model, settings), settings, listening, lambda: None)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2:])
    else:
        sys.exit(judge(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:]))
