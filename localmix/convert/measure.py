"""A finished file beside its source: perplexity, KL divergence and agreements, for the receipt.

The source runs as a model. A GGUF file does as it is; a checkpoint folder is written as F16 beside the output first
and that file is deleted afterwards, whatever happens. What could go wrong with the text is found out before the work
begins; whoever begins it checks that the disk has `room`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import localmix
from localmix import tokenizer
from localmix.convert import receipt
from localmix.convert.checkpoint import Checkpoint
from localmix.convert.plan import Plan, make_plan
from localmix.convert.stream import write
from localmix.gguf.partial import partial_path
from localmix.measure import windows
from localmix.measure.perplexity import Comparison, compare
from quant.recipe import RECIPES

if TYPE_CHECKING:
    from localmix.measure.perplexity import Progress

CONTEXT = 512  # tokens of a window, as `localmix perplexity` and llama.cpp have it
WINDOWS = 40  # so many tell a KL divergence within a few percent

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Measurement:
    """What to measure `plan` on. `make` finds out beforehand whether that can be done."""

    plan: Plan
    text: Path
    windows: list[windows.Window]
    threads: int | None = None  # None: one per physical core

    @classmethod
    def make(cls, plan: Plan, text: Path, most: int = WINDOWS, threads: int | None = None) -> "Measurement":
        """At most `most` windows of the text. LocalmixError: it cannot be read, or is too short for one."""
        context = min(CONTEXT, plan.checkpoint.context)
        cut = windows.cut(tokenizer.from_metadata(plan.metadata), windows.read_text(text), context, most)
        return cls(plan, text, cut, threads)

    def source_plan(self) -> Plan | None:
        """What the source is written as, in order to run; None where it runs as it is."""
        source = self.plan.checkpoint
        return make_plan(source, RECIPES["F16"]) if source.path.is_dir() else None

    @property
    def room(self) -> int:
        """Bytes of disk that the source takes as F16 while it is measured."""
        source = self.source_plan()
        return 0 if source is None else source.nbytes

    def fill_in(self, written: Path, out: Path, advance: Advance, progress: "Progress | None" = None) -> Comparison:
        """Measure the file `written`, which will be `out`, and patch the figures into it.

        `advance` is called with bytes of the source that are written as F16, `progress` as `perplexity.compare` does.
        """
        with self._source(out, advance) as path:
            model, base = (localmix.load(one, "numba", self.threads) for one in (written, path))
            found = compare(model, base, self.windows, progress)
        said = f"{self.text.name}, {len(self.windows)} windows of {len(self.windows[0])} tokens"
        receipt.fill_in(written, said, figures(found, self.plan.checkpoint))
        return found

    @contextmanager
    def _source(self, out: Path, advance: Advance) -> Iterator[Path]:
        """The source as a file that runs."""
        plan = self.source_plan()
        if plan is None:
            yield self.plan.checkpoint.path
            return
        path = beside(out)
        try:
            write(plan, path, self.threads or 2, advance)
            yield path
        finally:
            for left in (path, partial_path(path), partial_path(path).with_suffix(".partial.log")):
                left.unlink(missing_ok=True)


def beside(out: Path) -> Path:
    """Where the source is as F16 while it is measured."""
    return out.with_name(out.name + ".source")


def figures(found: Comparison, source: Checkpoint) -> dict[str, float]:
    """The values of `receipt.FIGURES`."""
    router = {"router_agreement": sum(found.router) / len(found.router)} if source.model.experts else {}
    return router | {
        "perplexity": found.score.perplexity,
        "source_perplexity": found.base.perplexity,
        "kl_mean": found.kl_mean,
        "kl_median": found.kl_percentile(50),
        "kl_p99": found.kl_percentile(99),
        "top1_agreement": found.top1,
    }
