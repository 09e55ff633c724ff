"""Times answers with drafts and without, in turn, by task, and counts the ids of drafts that were taken.

By hand, on a quiet machine:
    python tests/peers/drafts.py [MODEL.gguf] [--text FILE]... [--temp 0] [--rounds 3] [--draft lookup|SMALL.gguf]
Tasks are made of the texts (else of README.md): a passage once more, its mistakes corrected, a summary; and stories,
of which drafts must cost nothing. Small models edit best where they continue: those tasks end with the first words of
the answer. All texts must be those without drafts.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import localmix
from localmix.answer.generate import Generation
from localmix.model import Model

COPY = "Original text:\n{}\n\nCopy of the text:\n{}"
CORRECT = "Text with mistakes:\n{}\n\nThe same text, corrected:\n{}"
SUMMARISE = "{}\n\nSummarise this with quotes from the text."
BEGUN = 30  # letters of an answer that is begun
ABOUT = ("a cat", "the sea", "two brothers", "an old tree")
PASSAGE = 900  # letters


def passages(files: list[Path], count: int) -> Iterator[str]:
    """From all over the texts, whole lines."""
    for file in files:
        text = file.read_text(encoding="utf-8", errors="ignore")
        for i in range(count):
            start = text.find("\n", len(text) * i // count) + 1
            yield text[start : start + PASSAGE].rsplit("\n", 1)[0].strip()


def misspelt(text: str) -> str:
    """With two neighbouring letters of every tenth word changed round."""
    words, rng = text.split(" "), random.Random(0)
    for i in range(5, len(words), 10):
        if len(words[i]) > 3:
            at = rng.randrange(1, len(words[i]) - 2)
            words[i] = words[i][:at] + words[i][at + 1] + words[i][at] + words[i][at + 2 :]
    return " ".join(words)


def tasks(files: list[Path], count: int) -> Iterator[tuple[str, str]]:
    """Kinds and prompts."""
    for passage in passages(files, count):
        yield "copy", COPY.format(passage, passage[:BEGUN])
        yield "correct", CORRECT.format(misspelt(passage), passage[:BEGUN])
        yield "summarise", SUMMARISE.format(passage)
    for what in ABOUT:
        yield "story", f"Tell me a story about {what}."


def answer(model: Model, kind: str, prompt: str, temp: float, tokens: int) -> Generation:
    how: dict[str, Any] = {"temp": temp, "seed": 1, "max_tokens": tokens}
    told = model.template and kind in ("summarise", "story")
    found = model.chat().send(prompt, **how) if told else model.generate(prompt, **how)
    found.read()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--text", type=Path, action="append")
    parser.add_argument("--passages", type=int, default=3, help="of each text")
    parser.add_argument("--kind", action="append", help="of task: copy, correct, summarise or story")
    parser.add_argument("--tokens", type=int, default=250)
    parser.add_argument("--temp", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draft", default="lookup")
    parser.add_argument("-t", "--threads", type=int, default=None)
    a = parser.parse_args()
    model = localmix.load(a.model, "numba", a.threads, draft=a.draft)
    drafting = model.drafting
    assert drafting is not None
    files = a.text or [Path(__file__).parents[2] / "README.md"]
    answer(model, "story", "Hello", 0, 20)
    print(f"{model.file.path.name}: {model.backend.isa}, {model.backend.threads} threads, temperature {a.temp:g}")
    print(f"{'task':>10} {'tokens':>6} {'plain t/s':>9} {'drafted':>8} {'ratio':>6} {'ids checked':>11} {'taken':>6}")
    ratios: dict[str, list[float]] = {}
    for kind, prompt in tasks(files, a.passages):
        if a.kind and kind not in a.kind:
            continue
        times, others = list[float](), list[float]()
        for _ in range(a.rounds):
            model.drafting = None
            plain = answer(model, kind, prompt, a.temp, a.tokens)
            model.drafting = drafting.anew()
            found = answer(model, kind, prompt, a.temp, a.tokens)
            assert found.ids == plain.ids, (prompt, found.text, plain.text)
            times.append(plain.stats.decode_seconds)
            others.append(found.stats.decode_seconds)
        one, two, tokens = median(times), median(others), found.stats.decode_tokens
        ratios.setdefault(kind, []).append(one / two)
        print(
            f"{kind:>10} {tokens:6} {tokens / one:9.1f} {tokens / two:8.1f} {one / two:6.2f} {found.stats.drafted:11} "
            f"{found.stats.taken:6}",
            flush=True,
        )
    for kind, found_ratios in ratios.items():
        print(f"{kind:>10}: median {median(found_ratios):.2f}, {min(found_ratios):.2f} to {max(found_ratios):.2f}")


if __name__ == "__main__":
    main()
