"""Bytes to numbers and back, for every weight format of GGUF that localmix reads.

Arrays in, arrays out: nothing here knows files or models. A format is one module of its name and one row
below.
"""

from quant import (
    bf16,
    f16,
    f32,
    iq4_nl,
    iq4_xs,
    mxfp4,
    q2_k,
    q3_k,
    q4_0,
    q4_1,
    q4_k,
    q5_0,
    q5_1,
    q5_k,
    q6_k,
    q8_0,
)
from quant.format import Format

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        f32.FORMAT,
        f16.FORMAT,
        bf16.FORMAT,
        q8_0.FORMAT,
        q6_k.FORMAT,
        q5_k.FORMAT,
        q5_1.FORMAT,
        q5_0.FORMAT,
        q4_k.FORMAT,
        q4_1.FORMAT,
        q4_0.FORMAT,
        iq4_nl.FORMAT,
        iq4_xs.FORMAT,
        mxfp4.FORMAT,
        q3_k.FORMAT,
        q2_k.FORMAT,
    )
}
"""Every format by its name, widest first."""

BY_ID: dict[int, Format] = {row.ggml: row for row in FORMATS.values()}
"""The same by the type's number in a GGUF file."""

__all__ = ["BY_ID", "FORMATS", "Format"]
