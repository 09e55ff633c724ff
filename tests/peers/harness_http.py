"""lm-evaluation-harness over HTTP, in this process, and perplexity's sums: the same log-likelihoods, or how far apart.

By hand, in an environment that has localmix[eval,serve] and lm-eval[api]:
    python tests/peers/harness_http.py [MODEL.gguf] [--texts 24]
The harness's own client of completions is used, with the server's tokenizer. Texts are the lines of the license.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

import localmix
from localmix.harness import LocalmixLM
from localmix.measure.perplexity import measure
from localmix.measure.windows import Window
from localmix.model import Model

sys.path.insert(0, str(Path(__file__).parents[1]))
from server.served import served

ROOT = Path(__file__).parents[2]


class WithBos(LocalCompletionsAPI):
    """The harness's client takes the server's tokenizer, but never asks it for a BOS, with which texts begin here."""

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        before, after = super()._encode_pair(context, continuation)
        return [self.prefix_token_id, *before], after


def asked(kind: str, arguments: list[Any]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=each, idx=i) for i, each in enumerate(arguments)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("--texts", type=int, default=24)
    given = parser.parse_args()
    model = localmix.load(given.model)
    context = min(512, model.network.context)
    lines = [part for part in (ROOT / "LICENSE").read_text().split("\n\n") if len(part) > 40]
    texts = [" ".join(line.split()) for line in lines][: given.texts]
    local = LocalmixLM(model, context=context)
    with served(model, context=context, memory=256 << 20) as server:
        remote = WithBos(
            base_url=f"http://127.0.0.1:{server.port}/v1/completions", model=server.service.name, num_concurrent=4,
            tokenizer_backend="remote", tokenized_requests=True, max_length=context, batch_size=4,
        )  # fmt: skip
        compare(model, local, remote, texts)


def compare(model: Model, local: LocalmixLM, remote: WithBos, texts: list[str]) -> None:
    """Continuations and whole texts, here, over HTTP, and as perplexity's sums."""
    pairs = [(text[: len(text) // 2], text[len(text) // 2 :]) for text in texts]
    kind = "loglikelihood"
    near = local.loglikelihood(asked(kind, pairs))
    far = remote.loglikelihood(asked(kind, pairs))
    differences = [abs(a - b) for (a, _), (b, _) in zip(near, far, strict=True)]
    alike = sum(a == b for (_, a), (_, b) in zip(near, far, strict=True))
    print(f"{len(pairs)} continuations: HTTP differs by {max(differences):g} nats at most; {alike} agree on greedy")
    kind = "loglikelihood_rolling"
    whole = [local.loglikelihood_rolling(asked(kind, [(text,)]))[0] for text in texts]
    there = [remote.loglikelihood_rolling(asked(kind, [(text,)]))[0] for text in texts]
    sums = []
    for text in texts:
        score = measure(model, [Window(model.tokenizer.encode(text, bos=True, eos=False), 0)])
        sums.append(-score.nats.mean * score.tokens)
    print(f"{len(texts)} texts: HTTP differs by {np.abs(np.subtract(whole, there)).max():g} nats at most, "
          f"perplexity's sums by {np.abs(np.subtract(whole, sums)).max():g}, of {np.abs(whole).max():.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
