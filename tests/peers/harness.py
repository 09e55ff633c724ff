"""A benchmark of choices through lm-evaluation-harness: localmix, and llama-cpp-python's logits one request at a time.

By hand, in an environment that has localmix[eval] and llama-cpp-python:

    python tests/peers/harness.py MODEL.gguf arc_easy.jsonl [--questions 500]

A line of the file is {"query": …, "choices": […], "gold": index}. Both answer the same ids; told are accuracy, seconds,
how often they choose alike, the largest difference of a log-likelihood, and localmix's speed beside its own prompts'.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

os.environ["HF_HUB_OFFLINE"] = "1"

from llama_cpp_logits import LlamaCpp
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

import localmix
from localmix.harness import LocalmixLM
from localmix.measure import bench

TASK = """\
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{query}}\\nAnswer:"
doc_to_target: gold
doc_to_choice: choices
metric_list: [{metric: acc}, {metric: acc_norm}]
"""


class Peer(LocalmixLM):
    """The same ids and contexts, each request computed by llama.cpp from its beginning."""

    def __init__(self, model: Any, path: str) -> None:
        super().__init__(model)
        self._llama = LlamaCpp(path, 2048, model.backend.threads)

    def _loglikelihood_tokens(self, requests: Any, **how: Any) -> list[tuple[float, bool]]:
        return [self._one(before, after) for _, before, after in requests]

    def _one(self, before: list[int], after: list[int]) -> tuple[float, bool]:
        self._llama.forget()
        logits = self._llama.logits([*before, *after][:-1], len(before) - 1).astype(np.float64)
        logs = logits - logits.max(axis=1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
        return float(logs[np.arange(len(after)), after].sum()), bool((logs.argmax(axis=1) == after).all())


def run(model: LocalmixLM, tasks: TaskManager) -> tuple[dict[str, Any], list[list[float]], float]:
    """Metrics, the log-likelihoods of each question's choices, seconds."""
    began = time.perf_counter()
    found = simple_evaluate(model=model, tasks=["choices"], task_manager=tasks)
    assert found is not None
    samples = [[float(one[0]) for one in sample["filtered_resps"]] for sample in found["samples"]["choices"]]
    return found["results"]["choices"], samples, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("file", type=Path)
    parser.add_argument("--questions", type=int, default=500)
    arguments = parser.parse_args()
    model = localmix.load(arguments.model)
    plan = bench.Plan(prompts=(512,), decoded=0, repeats=3)
    prompt = next(iter(bench.run(model, plan, None))).tokens_per_second
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        data.write_text("\n".join(arguments.file.read_text().splitlines()[: arguments.questions]))
        (Path(folder) / "choices.yaml").write_text(TASK.replace("FILE", str(data)))
        tasks, ours = TaskManager(include_path=folder), LocalmixLM(model)  # it reads thousands of files
        run(ours, tasks)  # the harness reads its data, kernels are compiled
        given, computed = ours.scored
        began = time.perf_counter()
        mine = run(ours, tasks)
        peer = run(Peer(model, arguments.model), tasks)
    seconds = time.perf_counter() - began - peer[2]
    for name, (metrics, _, taken) in (("localmix", mine), ("llama.cpp", peer)):
        print(f"{name:<10} acc {metrics['acc,none']:.4f} acc_norm {metrics['acc_norm,none']:.4f} {taken:.1f} s")
    alike = mean(bool(np.argmax(a) == np.argmax(b)) for a, b in zip(mine[1], peer[1], strict=True))
    far = max(abs(a - b) for x, y in zip(mine[1], peer[1], strict=True) for a, b in zip(x, y, strict=True))
    print(f"same choice {alike:.2%}, log-likelihoods differ by {far:.3f} at most")
    print(
        f"{given} tokens with all contexts, {computed} computed, in {seconds:.1f} s: {computed / seconds:.0f} a second"
    )
    print(f"prompts of 512: {prompt:.0f} a second; given tokens {given / seconds:.0f} a second")


if __name__ == "__main__":
    main()
