"""What an importance matrix gains: held-out KL divergence from F16 with and without one, for every K format.

usage: python tests/peers/calibration.py CHECKPOINT TEXT [--tokens 20000] [--formats Q2_K,Q4_K_M]

Half of the documents are calibrated on, the other half is measured on (see held_out.py). With llama-cpp-python
installed the last lines compare Q4_K_M with what llama.cpp's quantizer makes of the same F16 file: by its own recipe,
and with our formats tensor by tensor. A difference of divergences comes with its standard error over the tokens.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Mapping
from pathlib import Path

from held_out import CONTEXT, Bench, documents, first

from localmix import convert, gguf
from localmix.measure import windows
from localmix.measure.calibrate import calibrate
from localmix.measure.perplexity import Comparison
from quant.format import Floats
from quant.recipe import RECIPES

FORMATS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=20000, help="calibrated on, and measured on")
    parser.add_argument("--formats", default=",".join(FORMATS), help="may be empty")
    parser.add_argument("-t", "--threads", type=int, default=2)
    a = parser.parse_args()
    train, held_out = documents(a.text)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(a.checkpoint, held_out, a.tokens, Path(folder), a.threads)
        seen = first(windows.documents(bench.base.tokenizer, train, CONTEXT), a.tokens)
        found = calibrate(bench.base, seen, a.text.name)
        shapes = {name: source.shape for name, source in bench.checkpoint.tensors.items()}
        importance = found.importance(shapes, a.text)
        print(f"calibrated on {sum(map(len, seen))} tokens, measured on {sum(map(len, bench.windows))} others")
        for name in filter(None, a.formats.split(",")):
            plain, better = (bench.compare(bench.write(name, given)) for given in (None, importance))
            less = plain.kl - better.kl
            gain, error = less.mean() / plain.kl_mean, less.std() / len(less) ** 0.5 / plain.kl_mean
            print(f"{name:>8}: mean KL {plain.kl_mean:.3e}, calibrated {better.kl_mean:.3e} ({gain:.1%} ± {error:.1%} "
                  f"less); same first choice {plain.top1:.2%}, {better.top1:.2%}", flush=True)  # fmt: skip
        beside_llama_cpp(bench, importance)


def beside_llama_cpp(bench: Bench, importance: Mapping[str, Floats]) -> None:
    """The lines on Q4_K_M."""
    ours = [say(title, bench, bench.write("Q4_K_M", given))
            for title, given in (("ours", None), ("ours, calibrated", importance))]  # fmt: skip
    if importlib.util.find_spec("llama_cpp") is None:
        print("llama-cpp-python is not installed: nothing to compare with")
        return
    say("llama.cpp's recipe", bench, by_llama_cpp(bench), ours[0])
    say("llama.cpp, our formats", bench, in_our_formats(bench, None), ours[0])
    say("the same, calibrated", bench, in_our_formats(bench, importance), ours[1])


def say(title: str, bench: Bench, path: Path, ours: Comparison | None = None) -> Comparison:
    """A line on a file, and how much more it diverges than `ours`."""
    found = bench.compare(path)
    change = found.score.perplexity / found.base.perplexity - 1
    line = f"{path.stat().st_size / 1e6:6.2f} MB, perplexity {found.score.perplexity:.4f} ({change:+.2%})"
    line += f", mean KL {found.kl_mean:.3e}, same first choice {found.top1:.2%}"
    if ours is not None:
        more = found.kl - ours.kl
        line += f"; {more.mean():+.1e} ± {more.std() / len(more) ** 0.5:.0e} of KL more than ours"
    print(f"  Q4_K_M, {title:24} {line}", flush=True)
    return found


def by_llama_cpp(bench: Bench) -> Path:
    """The F16 file through llama.cpp's own command."""
    import llama_cpp

    out = bench.folder / "llama.cpp.gguf"
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, bench.threads
    failed = llama_cpp.llama_model_quantize(str(bench.base.file.path).encode(), str(out).encode(), params)
    assert not failed
    return out


def in_our_formats(bench: Bench, importance: Mapping[str, Floats] | None) -> Path:
    """Every tensor in the format that our recipe gives it, its blocks by llama.cpp."""
    from quantizers import llama_quantizer, load_llama

    library = load_llama(None)
    out = bench.folder / f"chunks{'.calibrated' if importance else ''}.gguf"
    plan = convert.make_plan(bench.checkpoint, RECIPES["Q4_K_M"], importance=importance)
    with gguf.Writer(out, plan.written, list(plan.tensors.values())) as writer:
        for output in plan.outputs:
            quantize = llama_quantizer(library, output.info.format)
            for top in range(0, output.source.matrix.rows, output.expert_rows):
                rows = output.source.matrix.read(top, top + output.expert_rows)
                blocks = quantize(rows, output.importance_of(top))
                writer.write(output.info.name, blocks)
    return out


if __name__ == "__main__":
    main()
