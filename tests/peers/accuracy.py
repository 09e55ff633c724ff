"""What the kernels' rounding costs: perplexity on numba against the reference, for every format.

usage: python tests/peers/accuracy.py SOURCE TEXT [--tokens 20000] [--formats q4_0,q4_k] [--activations int8]

SOURCE is a checkpoint or a GGUF file of floats, such as the one that the bundled model was made from; TEXT is plain
text, or a JSON list of texts or of rows that end in one. Each format is made from the source, in all matrices that its
blocks divide. The issue is int8 activations: the program gives networks of width 2048 and less 16 bits, and
`--activations int8` shows why.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import localmix
from localmix import convert
from localmix.measure import perplexity, windows
from quant import FORMATS
from quant.recipe import Recipe

BAR = 0.001  # relative difference of perplexities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=20000)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--formats", default=",".join(name for name in FORMATS if FORMATS[name].quantize))
    parser.add_argument("--activations", choices=("int8", "int16"))
    arguments = parser.parse_args()
    if arguments.activations:
        os.environ["LOCALMIX_ACTIVATIONS"] = arguments.activations
    checkpoint = convert.open_checkpoint(arguments.source)
    print(f"{'format':>8} {'reference':>10} {'numba':>10} {'difference':>10}  mean KL   top-1")
    for name in arguments.formats.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            convert.write(convert.make_plan(checkpoint, Recipe(0, name), []), path, 2)
            print(row(name, path, arguments), flush=True)


def row(name: str, path: Path, arguments: argparse.Namespace) -> str:
    base, model = (localmix.load(path, backend) for backend in ("reference", "numba"))
    text = windows.read_text(arguments.text)
    if arguments.text.suffix == ".json":
        text = "\n\n".join(one if isinstance(one, str) else one[-1] for one in json.loads(text))
    pieces = windows.cut(model.tokenizer, text, arguments.context, arguments.tokens // arguments.context)
    found = perplexity.compare(model, base, pieces)
    exact, ours = found.base.perplexity, found.score.perplexity
    change = ours / exact - 1
    verdict = "" if abs(change) < BAR else "  beyond the bar"
    return f"{name:>8} {exact:10.4f} {ours:10.4f} {change:+10.4%} {found.kl_mean:9.1e} {found.top1:7.2%}{verdict}"


if __name__ == "__main__":
    main()
