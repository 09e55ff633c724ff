"""Whether the loss that `localmix quantize` expects of a choice of formats puts them in the order that is measured.

usage: python tests/peers/recipe_order.py CHECKPOINT TEXT [--tokens 10000]

Recipes, and formats chosen for a number of bits a weight, are made from the checkpoint; prints the expected and the
measured KL divergence from F16 of each, and the rank correlation of the two (Spearman). The bar is 0.9.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from held_out import Bench, documents

from localmix.convert import budget, make_plan
from localmix.convert.loss import Sensitivity
from localmix.convert.plan import Plan
from quant.recipe import RECIPES

NAMES = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "Q3_K_M", "Q3_K_S", "Q2_K")
BITS = (3.0, 3.5, 4.0, 4.25, 4.6, 5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=10000)
    parser.add_argument("-t", "--threads", type=int, default=2)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(a.checkpoint, documents(a.text)[1], a.tokens, Path(folder), a.threads)
        found = {}
        for name, plan in plans(bench).items():
            found[name] = expected(plan), bench.compare(bench.write_plan(plan, Path(folder) / "model.gguf")).kl_mean
            size = 8 * plan.nbytes / plan.checkpoint.weights
            print(
                f"{name:>9} {size:5.2f} bits: expected {found[name][0]:.2e}, measured {found[name][1]:.2e}", flush=True
            )
    print(f"rank correlation of {len(NAMES)} recipes: {spearman([found[name] for name in NAMES]):.3f}")
    print(f"rank correlation of all {len(found)}: {spearman(list(found.values())):.3f}")


def plans(bench: Bench) -> dict[str, Plan]:
    """What is compared, by name."""
    source = bench.checkpoint
    found = {name: make_plan(source, RECIPES[name]) for name in NAMES}
    for bits in BITS:
        rows = budget.fit(source, [], int(bits * source.weights / 8))
        found[f"{bits:g} bpw"] = make_plan(source, budget.FITTED, rows)
    return found


def expected(plan: Plan) -> float:
    tensors = plan.tensors.values()
    return Sensitivity(plan.checkpoint.model.layers, plan.checkpoint.weights).total(tensors)


def spearman(pairs: list[tuple[float, float]]) -> float:
    """The correlation of ranks."""
    ranks = np.argsort(np.argsort(np.array(pairs), axis=0), axis=0)
    return float(np.corrcoef(ranks.T)[0, 1])


if __name__ == "__main__":
    main()
