"""What `localmix quantize` aims at: a recipe by its name, or formats that fit a memory or a number of bits a weight."""

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from localmix.amounts import amount
from localmix.cli.streams import note
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.convert import Checkpoint, Plan
    from quant.recipe import Recipe, Row

DEFAULT = "Q4_K_M"
DECODED = 0.75  # of the memory bus: about what `localmix bench` shows for Mixtral's shapes
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Target:
    """One of a recipe's name, bytes of memory for a context, and bits a weight. `text` is what the user gave."""

    text: str
    label: str  # in the name of a file
    recipe: str | None = None
    ram: int = 0
    context: int = 0
    bits: float = 0.0

    @property
    def asks(self) -> bool:
        """Whether the user should see what was chosen before the work begins."""
        return self.recipe is None

    def formats(self, checkpoint: "Checkpoint", overrides: "list[Row]") -> "tuple[Recipe, list[Row]]":
        """The recipe and the rows before it. LocalmixError: nothing fits."""
        from localmix.convert import budget
        from quant.recipe import RECIPES

        if self.recipe is not None:
            return RECIPES[self.recipe], overrides
        try:
            if self.ram:
                return budget.FITTED, budget.fit_memory(checkpoint, overrides, self.ram, self.context)
            return budget.FITTED, budget.fit(checkpoint, overrides, int(self.bits * checkpoint.weights / 8))
        except LocalmixError as error:
            raise LocalmixError(f"{self.text}: {error}") from None


def chosen_target(format: str | None, ram: str | None, bits: float | None, context: int) -> Target:
    """The target that the options name. LocalmixError: more than one, or no such recipe or size."""
    from quant.recipe import RECIPES

    given = [name for name, value in (("--format", format), ("--target-ram", ram), ("--target-bpw", bits)) if value]
    if len(given) > 1:
        raise LocalmixError(f"{given[0]} with {given[1]}: both choose the formats: give only one")
    if ram is not None:
        return Target(
            f"--target-ram {ram} --ctx {context}", ram.upper(), ram=size("--target-ram", ram), context=context
        )
    if bits is not None:
        return Target(f"--target-bpw {bits:g}", f"{bits:g}bpw", bits=bits)
    name = (format or DEFAULT).upper()
    if name not in RECIPES:
        raise LocalmixError(f"--format {format}: expected one of {', '.join(RECIPES)}")
    return Target(name, name, recipe=name)


def size(option: str, text: str) -> int:
    """Bytes that an option says, as in 24G (10^9) or 24GiB (2^30)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", text.upper())
    if found is None or found[2] not in UNITS:
        raise LocalmixError(f"{option} {text}: expected a size such as 24G or 15.5GiB")
    return int(float(found[1]) * UNITS[found[2]])


def say_expectations(plan: "Plan", context: int, threads: int) -> None:
    """What the chosen formats will take, lose and allow, on stderr."""
    from localmix.convert.budget import memory
    from localmix.convert.loss import Sensitivity
    from localmix.measure import bandwidth, inventory

    found, needs = inventory.take(plan), memory(plan, context)
    note(
        f"memory: {amount(needs.weights, 'B')} of weights, {amount(needs.cache, 'B')} of cache for {context} tokens, "
        f"{amount(needs.work, 'B')} of working memory: {amount(needs.total, 'B')}"
    )
    loss = Sensitivity(plan.checkpoint.model.layers, found.weights).total(plan.tensors.values())
    note(f"loss: an estimated divergence of {loss:.2g} nats per token from the source")
    reads = bandwidth.measure(None, threads)
    note(
        f"speed: about {DECODED * reads / max(found.read, 1):.3g} t/s decoded here ({amount(found.read, 'B')} per token"
        f" at {DECODED:.0%} of the {amount(int(reads), 'B')}/s that this machine reads), if all of it is in memory"
    )


def confirmed() -> bool:
    """The user's answer. LocalmixError: there is nobody to ask."""
    if not sys.stdin.isatty():
        raise LocalmixError("no terminal to ask for confirmation: pass -y")
    return typer.confirm("Write it?", default=True, err=True)
