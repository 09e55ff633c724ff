"""How long a kept conversation takes to its first token, beside computing it again.

    python tests/peers/resume.py MODEL.gguf [TOKENS]

A conversation of so many tokens (2,000) is kept; then it is taken up twice in the same process, once with its keys
and values and once without, and asked the same. The bar: with them in under a tenth of the time.
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import localmix
from localmix.conversation import record as saved
from localmix.model import Model
from localmix.template import ChatTemplate

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"  # of files that have none


def first_token(model: Model, kept: Path) -> tuple[float, int]:
    """Seconds from nothing to the first token, and how many tokens were computed for it."""
    begun = perf_counter()
    chat = model.chat()
    saved.load(kept, chat)
    answer = chat.send("And then?", max_tokens=1, temp=0)
    answer.read()
    return perf_counter() - begun, answer.stats.prompt_tokens


def main(path: str, tokens: int = 2000) -> None:
    model = localmix.load(path)
    model.template = model.template or ChatTemplate(TEMPLATE, model.tokenizer)
    model.generate("warm up, so that nothing is compiled or read from the disk below", max_tokens=2, temp=0).read()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "talk.json"
        chat = model.chat()
        per_word = len(model.tokenizer.encode("word " * 100, bos=False)) / 100
        chat.send("word " * int(tokens / per_word), max_tokens=8, temp=0).read()
        saved.save(kept, chat)
        begun = perf_counter()
        saved.save_cache(kept, chat)
        seconds = perf_counter() - begun
        size = saved.cache_path(kept).stat().st_size
        print(f"{len(chat.context.ids)} tokens kept: {size / 1e6:.1f} MB in {seconds:.2f} s")
        resumed, computed = first_token(model, kept)
        saved.cache_path(kept).unlink()
        again, all_computed = first_token(model, kept)
    print(f"with keys and values: {resumed:.3f} s, {computed} tokens computed")
    print(f"without:              {again:.3f} s, {all_computed} tokens computed")
    print(f"share: {resumed / again:.3f}, the bar is 0.1: {'met' if resumed < again / 10 else 'missed'}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
