"""Times answers with drafts and without, in turn, by task, and counts the ids of drafts that were taken.

By hand, on a quiet machine:
    python tests/peers/drafts.py [MODEL.gguf] [--text FILE]... [--temp 0] [--rounds 3] [--draft lookup]
Tasks are made of the texts (else of README.md): to write a passage once more, to correct mistakes that were put into
it, to summarise it; and stories, of which drafts must cost nothing. A model without a chat template continues: the
passage, and its beginning once more. All texts must be those without drafts.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import localmix
from localmix.answer.draft import drafting
from localmix.answer.generate import Generation
from localmix.model import Model

ASKED = {
    "copy": "Write the following text once more, word by word:\n\n{}",
    "correct": "Correct the spelling of the following text. Change nothing else:\n\n{}",
    "summarise": "Summarise the following text in a few sentences, and quote the most important one:\n\n{}",
}
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


def tasks(model: Model, files: list[Path], count: int) -> Iterator[tuple[str, str]]:
    """Kinds and prompts."""
    for passage in passages(files, count):
        for kind, words in ASKED.items():
            text = misspelt(passage) if kind == "correct" else passage
            yield kind, words.format(text) if model.template else f"{text}\n\n{passage[:40]}"
    for what in ABOUT:
        yield "story", f"Tell me a story about {what}."


def answer(model: Model, prompt: str, temp: float, tokens: int) -> Generation:
    how = {"temp": temp, "seed": 1, "max_tokens": tokens}
    found = model.chat().send(prompt, **how) if model.template else model.generate(prompt, **how)  # type: ignore[arg-type]
    found.read()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--text", type=Path, action="append")
    parser.add_argument("--passages", type=int, default=3, help="of each text")
    parser.add_argument("--tokens", type=int, default=250)
    parser.add_argument("--temp", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draft", default="lookup")
    parser.add_argument("-t", "--threads", type=int, default=None)
    a = parser.parse_args()
    model = localmix.load(a.model, "numba", a.threads, draft="off")
    files = a.text or [Path(__file__).parents[2] / "README.md"]
    answer(model, "Hello", 0, 20)
    print(f"{model.file.path.name}: {model.backend.isa}, {model.backend.threads} threads, temperature {a.temp:g}")
    print(f"{'task':>10} {'tokens':>6} {'plain t/s':>9} {'drafted':>8} {'ratio':>6} {'ids checked':>11} {'taken':>6}")
    ratios: dict[str, list[float]] = {}
    for kind, prompt in tasks(model, files, a.passages):
        times, others = list[float](), list[float]()
        for _ in range(a.rounds):
            model.drafting = None
            plain = answer(model, prompt, a.temp, a.tokens)
            model.drafting = drafting(a.draft, model.engine)  # which has learned nothing
            found = answer(model, prompt, a.temp, a.tokens)
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
