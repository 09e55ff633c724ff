"""Every family against llama.cpp on the same file, in F32 and quantized: KL divergence of the next token, at each
position, logits as they are.

By hand, in an environment that has both localmix and llama-cpp-python:

    PYTHONPATH=.:tests python tests/peers/families.py [random|trained [KIND;KIND...]]

random: the random checkpoints of tests/family_checkpoints.py, and 48 random ids. trained: the bundled model's weights
in each family's clothes (dressed.py), and 256 tokens of a story. Both converted.

Of a quantized file the exact answer is that of its weights with activations that nobody rounds, which the reference
gives. llama.cpp rounds the input of every product with a quantized matrix to 8 bits, numba to 16 in networks as small
as these. Printed are llama.cpp and numba from the exact answer, and from each other: at all positions, and where every
layer chose the same experts; and how far the reference is from llama.cpp once it rounds in the same way
(tests/llama_cpp_rounding.py), which leaves only faults. `gap` says how decided routers are: the median, over tokens
and layers, of what lies between the last expert chosen and the next, in standard deviations of the logits.
"""

import sys
import tempfile
from pathlib import Path

import dressed
import llama_cpp.llama_cpp as library
import numpy as np
from family_checkpoints import IDS, QUANTIZED, write
from llama_cpp import Llama
from llama_cpp_rounding import as_llama_cpp, divergence, log_probabilities, run
from numpy.typing import NDArray

import localmix
from localmix import convert
from localmix.backends.reference import Reference
from localmix.engine.engine import Engine
from localmix.network.blocks import Router
from localmix.network.decoder import Network
from quant.format import Floats
from quant.recipe import RECIPES


def main() -> None:
    trained = sys.argv[1:2] == ["trained"]
    kinds = sys.argv[2].split(";") if len(sys.argv) > 2 else list(dressed.KINDS if trained else QUANTIZED)
    ids = dressed.text(localmix.load(), 256) if trained else IDS
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            own = Path(folder) / kind
            source = dressed.make(own, kind, ids) if trained else write(own, kind)
            checkpoint = convert.open_checkpoint(source)
            for recipe in ("F32", *(dressed.RECIPES if trained else (QUANTIZED[kind],))):
                path = Path(folder) / f"{kind}-{recipe}.gguf"
                convert.write(convert.make_plan(checkpoint, RECIPES[recipe]), path, threads=1)
                print(f"{kind:>18} {recipe:>6}  {compared(path, ids)}", flush=True)


class Gaps(Reference):
    def __init__(self) -> None:
        self.found: list[NDArray] = []

    def choose(self, x: Floats, router: Router) -> tuple[NDArray, Floats]:
        logits = np.sort(x @ router.gate.T + (0 if router.logits_bias is None else router.logits_bias), axis=1)
        last = logits.shape[1] - router.active
        self.found.append((logits[:, last] - logits[:, last - 1]) / logits.std(axis=1))
        return super().choose(x, router)


def gap(network: Network, ids: list[int]) -> str:
    """Nothing of a dense network."""
    gaps = Gaps()
    Engine(network, gaps, "f32").logits(ids)
    return f"gap {np.median(np.concatenate(gaps.found)):.2f}; " if gaps.found else ""


def llama_cpp_logits(path: Path, ids: list[int]) -> NDArray[np.float32]:
    """(T, V) after each id. Weights stay as they are in the file: repacked, they have kernels of other sums."""
    defaults = library.llama_model_default_params

    def plain() -> library.llama_model_params:
        params = defaults()
        params.use_extra_bufts = False
        return params

    library.llama_model_default_params = plain
    try:
        options = {"type_k": 0, "type_v": 0, "flash_attn": False, "verbose": False}
        model = Llama(str(path), n_ctx=len(ids), logits_all=True, **options)
    finally:
        library.llama_model_default_params = defaults
    model.eval(ids)
    found = model.scores[: len(ids)].copy()
    model.close()
    return found


def compared(path: Path, ids: list[int]) -> str:
    theirs = log_probabilities(llama_cpp_logits(path, ids))
    reference, numba = (localmix.load(path, name, kv="f32") for name in ("reference", "numba"))
    exact, wanted = run(reference.engine, ids)
    own, chosen = run(numba.engine, ids)
    rounded, experts = run(as_llama_cpp(reference), ids)
    same = ((chosen == experts) & (wanted == experts)).all(axis=(0, 2))
    pairs = {
        "llama.cpp from exact": divergence(exact, theirs),
        "numba from exact": divergence(exact, own),
        "numba from llama.cpp": divergence(theirs, own),
    }
    parts = [f"same experts at {same.sum()}"]
    parts += [f"{name} {kl.mean():.1e} ({kl[same].mean():.1e})" for name, kl in pairs.items()]
    return gap(reference.network, ids) + "; ".join([*parts, f"rounded alike {divergence(theirs, rounded).mean():.1e}"])


if __name__ == "__main__":
    main()
