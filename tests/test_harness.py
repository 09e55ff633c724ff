"""lm-evaluation-harness with localmix as its model: its contracts, offline, on small tasks of our own."""

import json
import shutil
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from command_line import ROOT
from command_line import localmix as command

import localmix
from localmix.errors import LocalmixError

with pytest.MonkeyPatch.context() as environment:  # read when the harness is imported; other tests must not see it
    environment.setenv("HF_HUB_OFFLINE", "1")
    environment.setenv("TQDM_DISABLE", "1")
    harness = pytest.importorskip("localmix.harness", reason="lm-evaluation-harness is not installed")
    from lm_eval.api.instance import Instance

pytestmark = pytest.mark.filterwarnings("default")  # the harness and what it imports may warn
ONCE = "Once upon a time, there was"


def asked(kind: str, *arguments: Any) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=each, idx=0) for each in arguments]


@pytest.fixture(scope="module")
def lm(upcycled_path: Path) -> Any:
    return harness.LocalmixLM(localmix.load(upcycled_path, "reference"), context=64)


def likelihood(lm: Any, ids: list[int], first: int) -> float:
    """By definition."""
    logits = lm.model.logits(ids[:-1])[first - 1 :].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(logs[np.arange(len(logs)), ids[first:]].sum())


def test_continuations(lm: Any) -> None:
    """In order; spaces at a context's end belong to what follows; without a context there is a BOS."""
    pairs = [(ONCE, " a little girl"), (ONCE + " ", "a little girl"), ("", "Once upon"), (ONCE, " xyz")]
    found = lm.loglikelihood(asked("loglikelihood", *pairs))
    encode = lm.model.tokenizer.encode
    for (context, continuation), (nats, _) in zip(pairs, found, strict=True):
        ids, first = encode(context + continuation), len(encode(context.rstrip()))
        assert nats == pytest.approx(likelihood(lm, ids, first), rel=1e-3)
    assert found[0] == found[1]
    assert [greedy for _, greedy in found] == [True, True, True, False] or not found[3][1]


def test_long_contexts_are_cut_from_the_left(lm: Any) -> None:
    long = "She loved to play. " * 40
    ((nats, _),) = lm.loglikelihood(asked("loglikelihood", (long + ONCE, " a little")))
    ids = lm.model.tokenizer.encode(long + ONCE + " a little")
    count = len(ids) - len(lm.model.tokenizer.encode(long + ONCE))
    assert nats == pytest.approx(likelihood(lm, ids[-65:], 65 - count), rel=1e-3)


def test_whole_texts(lm: Any) -> None:
    """Every token once, in windows of the context; each text for itself."""
    long = "She loved to play outside in the park. " * 10
    found = lm.loglikelihood_rolling(asked("loglikelihood_rolling", (long,), ("Tom had a ball.",)))
    ids, bos = lm.model.tokenizer.encode(long, bos=False), lm.model.tokenizer.bos
    assert len(ids) > 2 * 64
    expected = likelihood(lm, [bos, *ids[:64]], 1) + likelihood(lm, ids[63:128], 1)
    rest = len(ids) - 128
    assert 1 < rest < 64
    expected += likelihood(lm, ids[-65:], 65 - rest)
    assert found[0] == pytest.approx(expected, rel=1e-3)
    (alone,) = lm.loglikelihood_rolling(asked("loglikelihood_rolling", ("Tom had a ball.",)))
    assert found[1] == pytest.approx(alone, rel=1e-5)


def test_texts_up_to_a_stop_string(lm: Any) -> None:
    """As the model writes them alone, also where prompts begin alike and several are written at once."""
    given = {"until": ["."], "max_gen_toks": 30}
    prompts = [ONCE + end for end in (" a", " a big", " an", "")]
    found = lm.generate_until(asked("generate_until", *((prompt, given) for prompt in prompts)))
    for prompt, text in zip(prompts, found, strict=True):
        assert text == lm.model.generate(prompt, temp=0, max_tokens=30, stop=["."]).read()
        assert "." not in text
    assert given == {"until": ["."], "max_gen_toks": 30}
    assert len(set(found)) > 1


def test_generation_kwargs() -> None:
    options, end = harness.options_of({"until": "\n", "max_new_tokens": 5, "temperature": 0.7, "do_sample": True}, 64)
    assert (options.max_tokens, options.stop, options.temp, options.top_k, end) == (5, ("\n",), 0.7, 0, None)
    assert harness.options_of({"temperature": 0.7, "do_sample": False}, 64)[0].temp == 0
    assert harness.options_of({}, 64)[0].max_tokens == 63
    assert harness.options_of({"think_end_token": "</think>"}, 64)[1] == "</think>"
    with pytest.raises(LocalmixError, match="num_beams = 4: expected one of until, do_sample"):
        harness.options_of({"num_beams": 4}, 64)


def test_chat_templates(chatty_path: Path, lm: Any) -> None:
    """What the harness puts together from the rendered text is what a chat encodes."""
    chatty = harness.LocalmixLM(str(chatty_path), backend="reference", batch_size=1, device="cuda:0")
    text = chatty.apply_chat_template([{"role": "user", "content": "Hello there"}])
    from localmix.template import Message

    assert chatty.tok_encode(text) == chatty.model.template.encode([Message("user", "Hello there")])
    assert chatty.chat_template(True) == chatty.model.template.source
    with pytest.raises(LocalmixError, match="no chat template"):
        lm.apply_chat_template([{"role": "user", "content": "Hello"}])


def test_the_harness_finds_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["lm_eval.models"]["localmix"].partition(":")
    assert getattr(import_module(module), name) is harness.LocalmixLM


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tasks, with the places of their data written out."""
    folder = tmp_path_factory.mktemp("tasks")
    for path in (small_models.DATA / "tasks").iterdir():
        shutil.copy(path, folder)
        if path.suffix == ".yaml":
            text = path.read_text()
            for name in ("facts.jsonl", "stories.jsonl"):
                text = text.replace(name, str(folder / name))
            (folder / path.name).write_text(text)
    return folder


def test_the_command(tasks: Path, upcycled_path: Path, tmp_path: Path) -> None:
    out, cache = tmp_path / "out.json", {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    how = ("--include-path", tasks, "--backend", "reference", "-c", 128)
    done = command(
        "eval", upcycled_path, "--tasks", "choices,rolling,writing", *how, "--num-fewshot", 2, "-o", out, "--json",
        PYTHONWARNINGS="default", **cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, written = json.loads(done.stdout)["results"], json.loads(out.read_text())
    assert set(found) == {"choices", "rolling", "writing"}
    assert found["choices"]["acc,none"] in (0, 0.25, 0.5, 0.75, 1)
    assert len(written["samples"]["choices"]) == 4
    assert "tokens shared with others" in done.stderr
    asked = written["samples"]["choices"][0]["arguments"]
    lm = harness.LocalmixLM(str(upcycled_path), backend="reference")
    pair = asked[0] if isinstance(asked, list) else asked["gen_args_0"]
    context, continuation = pair if isinstance(pair, list) else (pair["arg_0"], pair["arg_1"])
    assert context.count("Lily wanted") == 1  # an example
    ((nats, _),) = lm.loglikelihood([Instance("loglikelihood", {}, (context, continuation), 0)])
    assert float(written["samples"]["choices"][0]["filtered_resps"][0][0]) == pytest.approx(nats, abs=1e-3)


def test_what_is_wrong_is_one_line(tasks: Path, upcycled_path: Path, tmp_path: Path) -> None:
    wrong = {
        "no task nothing": ("--tasks", "nothing", "--include-path", tasks),
        "not a folder": ("--tasks", "choices", "--include-path", tmp_path / "none"),
        "has no chat template": ("--tasks", "choices", "--include-path", tasks, "--apply-chat-template"),
    }
    for problem, arguments in wrong.items():
        done = command("eval", upcycled_path, *arguments, "--backend", "reference", PYTHONWARNINGS="default")
        assert done.returncode == 1, done.stderr
        assert problem in done.stderr.splitlines()[-1]
