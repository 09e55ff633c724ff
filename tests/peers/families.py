"""Every family against llama.cpp on the same file, in F32 and quantized: KL divergence of the next token, at each of 48
positions, logits as they are.

By hand, in an environment that has both localmix and llama-cpp-python:

    PYTHONPATH=.:tests python tests/peers/families.py [KIND,KIND...]

The random checkpoints of tests/family_checkpoints.py, converted. llama.cpp rounds the input of every product with a
quantized matrix to 8 bits. So three numbers are printed of a quantized file: the reference with its activations rounded
in the same way (tests/llama_cpp_rounding.py), which leaves only faults; the backends as they are, at all positions; and
where every layer chose the experts that llama.cpp's rounding chooses: routers of random weights have near-ties.
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

BACKENDS = ("reference", "numba")


def main() -> None:
    kinds = sys.argv[1].split(",") if len(sys.argv) > 1 else list(QUANTIZED)
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            checkpoint = convert.open_checkpoint(write(Path(folder) / kind, kind))
            for recipe in ("F32", QUANTIZED[kind]):
                path = Path(folder) / f"{kind}-{recipe}.gguf"
                convert.write(convert.make_plan(checkpoint, RECIPES[recipe]), path, threads=1)
                print(f"{kind:>17} {recipe:>6}  {compared(path, exact=recipe == 'F32')}", flush=True)


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


def compared(path: Path, exact: bool) -> str:
    theirs, parts = log_probabilities(llama_cpp_logits(path)), []
    models = [localmix.load(path, name, kv="f32") for name in BACKENDS]
    rounded, experts = run(as_llama_cpp(models[0]), IDS)
    if not exact:
        parts.append(f"rounded alike {divergence(theirs, rounded).mean():.1e}")
    for name, model in zip(BACKENDS, models, strict=True):
        own, chosen = run(model.engine, IDS)
        kl = divergence(theirs, own)
        same = (chosen == experts).all(axis=(0, 2))
        more = "" if exact or same.all() else f", {kl[same].mean():.1e} at the {same.sum()} with the same experts"
        parts.append(f"{name} {kl.mean():.1e}{more}")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
