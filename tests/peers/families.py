"""Every family against llama.cpp on the same file, in F32 and quantized: KL divergence of the next token, at each of 48
positions, logits as they are.

By hand, in an environment that has both localmix and llama-cpp-python:

    PYTHONPATH=.:tests python tests/peers/families.py [KIND,KIND... [TIMES]]

The random checkpoints of tests/family_checkpoints.py, converted; TIMES: what the weights of their routers are
multiplied with, as random ones are nearly tied. Of a quantized file the exact answer is that of its weights with
activations that nobody rounds, which the reference gives. llama.cpp rounds the input of every product with a quantized
matrix to 8 bits, numba to 16 in networks as small as these. Printed are llama.cpp and numba from the exact answer, and
from each other: at all positions, and where every layer chose the same experts; and how far the reference is from
llama.cpp once it rounds in the same way (tests/llama_cpp_rounding.py), which leaves only faults.
"""

import sys
import tempfile
from pathlib import Path

import llama_cpp.llama_cpp as library
import numpy as np
from family_checkpoints import CONTEXT, IDS, QUANTIZED, write
from llama_cpp import Llama
from llama_cpp_rounding import as_llama_cpp, divergence, log_probabilities, run
from numpy.typing import NDArray

import localmix
from localmix import convert
from quant.recipe import RECIPES


def main() -> None:
    kinds = sys.argv[1].split(",") if len(sys.argv) > 1 else list(QUANTIZED)
    times = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            checkpoint = convert.open_checkpoint(write(Path(folder) / kind, kind, times))
            for recipe in ("F32", QUANTIZED[kind]):
                path = Path(folder) / f"{kind}-{recipe}.gguf"
                convert.write(convert.make_plan(checkpoint, RECIPES[recipe]), path, threads=1)
                print(f"{kind:>17} {recipe:>6}  {compared(path)}", flush=True)


def llama_cpp_logits(path: Path) -> NDArray[np.float32]:
    """(T, V) after each of IDS. Weights stay as they are in the file: repacked, they have kernels of other sums."""
    defaults = library.llama_model_default_params

    def plain() -> library.llama_model_params:
        params = defaults()
        params.use_extra_bufts = False
        return params

    library.llama_model_default_params = plain
    try:
        options = {"type_k": 0, "type_v": 0, "flash_attn": False, "verbose": False}
        model = Llama(str(path), n_ctx=CONTEXT, logits_all=True, **options)
    finally:
        library.llama_model_default_params = defaults
    model.eval(IDS)
    found = model.scores[: len(IDS)].copy()
    model.close()
    return found


def compared(path: Path) -> str:
    theirs = log_probabilities(llama_cpp_logits(path))
    reference, numba = (localmix.load(path, name, kv="f32") for name in ("reference", "numba"))
    exact, wanted = run(reference.engine, IDS)
    own, chosen = run(numba.engine, IDS)
    rounded, experts = run(as_llama_cpp(reference), IDS)
    same = ((chosen == experts) & (wanted == experts)).all(axis=(0, 2))
    pairs = {
        "llama.cpp from exact": divergence(exact, theirs),
        "numba from exact": divergence(exact, own),
        "numba from llama.cpp": divergence(theirs, own),
    }
    parts = [f"same experts at {same.sum()}"]
    parts += [f"{name} {kl.mean():.1e} ({kl[same].mean():.1e})" for name, kl in pairs.items()]
    return "; ".join([*parts, f"rounded alike {divergence(theirs, rounded).mean():.1e}"])


if __name__ == "__main__":
    main()
