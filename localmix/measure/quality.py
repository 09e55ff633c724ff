"""Several formats of one model side by side: what each takes, how far it is from the best, how fast it is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from localmix.measure import bench, inventory, perplexity
from localmix.measure.perplexity import Comparison, Progress
from localmix.measure.windows import Window

if TYPE_CHECKING:
    from localmix.model import Model

PLAN = bench.Plan(prompts=(512,), decoded=32, repeats=3)


@dataclass(frozen=True, eq=False)
class Quality:
    """One file. Speeds are tokens a second, None where they were not measured or there is no room for them."""

    name: str
    bytes: int
    bits: float  # a weight
    found: Comparison  # with the base; of the base with itself
    is_base: bool
    prompt: float | None = None
    decode: float | None = None

    @property
    def router(self) -> float | None:
        """The share of tokens, over all layers, for which the same experts are chosen as in the base."""
        return float(np.mean(self.found.router)) if self.found.router else None

    def as_dict(self) -> dict[str, Any]:
        """For programs: divergences in nats a token, agreements as shares."""
        found = self.found
        return {
            "name": self.name,
            "base": self.is_base,
            "bytes": self.bytes,
            "bits_per_weight": self.bits,
            "perplexity": found.score.perplexity,
            "error": found.score.error,
            "kl_mean": found.kl_mean,
            "kl_99": found.kl_percentile(99),
            "top1_agreement": found.top1,
            "router_agreement": self.router,
            "prompt_tokens_per_second": self.prompt,
            "decode_tokens_per_second": self.decode,
        }


def best(models: Sequence["Model"]) -> int:
    """Which of them has most bits a weight."""
    return int(np.argmax([inventory.take(model.file).bits for model in models]))


def measure(
    models: Sequence["Model"],
    names: Sequence[str],
    base: int,
    windows: Sequence[Window],
    *,
    speed: bool = True,
    progress: Progress | None = None,
) -> list[Quality]:
    """All of them in their order, compared with the one at `base`. LocalmixError: they are not of one model."""
    others = [i for i in range(len(models)) if i != base] or [base]
    compared = perplexity.compare_all([models[i] for i in others], models[base], windows, progress)
    found = dict(zip(others, compared, strict=True))
    found.setdefault(base, _itself(compared[0]))
    return [
        _quality(model, name, found[i], i == base, speed)
        for i, (model, name) in enumerate(zip(models, names, strict=True))
    ]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The stems of files, or whole paths where two stems are alike."""
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        return [str(path) for path in paths]
    return stems


def _itself(compared: Comparison) -> Comparison:
    """The base beside itself: its own score, and no distance."""
    same = perplexity.Sum()
    same.add(np.ones(1))
    routers = [perplexity.Sum() for _ in compared.router]
    for one in routers:
        one.add(np.ones(1))
    return Comparison(compared.base, compared.base, np.zeros(1, np.float32), same, routers)


def _quality(model: "Model", name: str, found: Comparison, is_base: bool, speed: bool) -> Quality:
    sizes = inventory.take(model.file)
    prompt = decode = None
    for result in bench.run(model, PLAN, None) if speed else ():
        if result.test.startswith("pp"):
            prompt = result.tokens_per_second
        else:
            decode = result.tokens_per_second
    return Quality(name, sizes.bytes, sizes.bits, found, is_base, prompt, decode)
