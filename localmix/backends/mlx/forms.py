"""What each GGUF format becomes in MLX: its codes, its bits per weight and what it costs in accuracy.

The one table of it. In 32-bit mode every form holds the file's weights exactly. In 16-bit mode, the one that GPUs
run, scales are 16-bit floats and groups of 16 weights, which MLX has not, may be fitted anew: `error` says what
that costs, root mean square over that of the weights. Knows no MLX, so that `localmix info` can tell.
"""

from dataclasses import dataclass
from typing import Literal

from quant.format import Format

GROUP = 32  # weights that share a scale
Kind = Literal["affine", "mxfp4", "dense", "blocks"]


@dataclass(frozen=True)
class Form:
    """How MLX holds a matrix.

    affine: w = scale · code + bias, a scale and a bias for each group of 32. blocks: as in the file, for kernels of
    our own. dense: floats.
    """

    kind: Kind
    code_bits: float  # of a code; dense and blocks: of a weight
    half: bool = True  # scales (of affine forms) are 16-bit floats
    spread: bool = False  # 16 weights fill the first half of a group: MLX has no groups of 16
    refit: bool = False  # two groups of 16 are fitted anew as one of 32
    error: float = 0.0

    @property
    def bits(self) -> float:
        """Bits a weight, scales and padding included."""
        if self.kind in ("dense", "blocks"):
            return self.code_bits
        pair = 8 if self.kind == "mxfp4" else 32 if self.half else 64
        return (self.code_bits + pair / GROUP) * (2 if self.spread else 1)

    @property
    def text(self) -> str:
        """For people: what it is, its bits per weight, its error."""
        what = {"mxfp4": "mxfp4", "blocks": "as in the file"}.get(self.kind, f"{self.kind} {self.code_bits}-bit")
        cost = f"error {self.error:.1e}" if self.error else "exact"
        return f"{what}, {self.bits:.4g} bits per weight, {cost}"


# Format -> form in 16-bit mode and in 32-bit mode, where it does not follow from the format's coding. Errors are those
# of Gaussian weights; a test measures them.
_FORMS: dict[str, tuple[Form, Form]] = {
    "q6_k": (Form("affine", 8, refit=True, error=5e-3), Form("affine", 6, half=False, spread=True)),
    "mxfp4": (Form("mxfp4", 4), Form("mxfp4", 4)),
    "f16": (Form("dense", 16), Form("dense", 16)),
    "bf16": (Form("dense", 16, error=3e-8), Form("dense", 16)),  # becomes float16: only tiny weights lose bits
}
_DENSE = Form("dense", 16, error=3e-4), Form("dense", 32)  # of every other that MLX has no codes for
_ROUNDED = 2e-4, 7e-4  # what it costs to round scales of groups to 16 bits: without minima, and with them
_CODE_BITS = (2, 3, 4, 5, 6, 8)  # that MLX has


def blocks_of(format: Format) -> Form:
    """The form of a format that is multiplied straight from the file's blocks."""
    return Form("blocks", format.bits)


def form_of(format: Format, half: bool) -> Form:
    """The form of a format in 16-bit (`half`) or 32-bit mode."""
    forms = _FORMS.get(format.name) or _affine(format) or _DENSE
    return forms[0 if half else 1]


def _affine(format: Format) -> tuple[Form, Form] | None:
    """Codes with a scale and a bias a group; None: MLX has none like the format's.

    A block's own scale is a 16-bit float already, and a power of two times it is one too: nothing is rounded.
    """
    coding = format.coding
    if coding is None or coding.group not in (GROUP, GROUP // 2) or format.dtype[coding.scale].kind != "f":
        return None
    bits = next(bits for bits in _CODE_BITS if coding.most < 1 << bits)
    spread, exact = coding.group < GROUP, coding.of_groups is None and coding.zero & (coding.zero - 1) == 0
    error = 0.0 if exact else _ROUNDED[coding.has_minima]
    return Form("affine", bits, spread=spread, error=error), Form("affine", bits, half=exact, spread=spread)
