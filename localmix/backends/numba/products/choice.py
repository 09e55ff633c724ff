"""Which kernel multiplies one token, for those who prepare its activations without loading what makes kernels."""

from localmix.backends.numba.machine import isa
from quant.coding import Coding


def by_strips(coding: Coding) -> bool:
    """Whether rows are multiplied side by side where there are 16 (strips.py), which takes 32 registers: not of formats
    with a field of single bits, as turning these takes longer than reading them from memory.
    """
    return "avx512f" in isa.active().needs and not any(part.run == 1 for part in coding.parts)
