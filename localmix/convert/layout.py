"""The order of tensors in a file, and at which multiples of bytes they begin."""

import re
from dataclasses import replace

import numpy as np

from localmix.convert.plan import Output, Plan
from localmix.gguf.header import ALIGNMENT_KEY

LAYOUTS = ("streaming",)
_EXPERTS = re.compile(r"blk\.(\d+)\.ffn_(gate|up|gate_up|down)_exps\.weight")
_ROLES = ("gate", "up", "gate_up", "down")  # in the order of use
_PAGE = 4096  # bytes: what is read past the system's cache begins at its multiples


def for_streaming(plan: Plan) -> Plan:
    """First what every token reads, then the experts, layer by layer; every tensor at the beginning of a page."""
    written = plan.written | {ALIGNMENT_KEY: np.uint32(_PAGE)}
    return replace(plan, written=written, outputs=sorted(plan.outputs, key=_place))


def _place(output: Output) -> tuple[int, int]:
    """Layer and role of an expert's tensor, before all of them for any other; equals keep their order."""
    found = _EXPERTS.fullmatch(output.info.name)
    return (int(found[1]), _ROLES.index(found[2])) if found else (-1, 0)
