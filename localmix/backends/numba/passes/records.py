"""The records that kernels and Python share: NumPy structured dtypes, read in kernels as records at an address.

Fields are int64, addresses and sizes alike, unless they say otherwise.
Shapes: T tokens · D width · H heads · K kv heads · d head size · E experts · F hidden · n rotated pairs.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.engine.cache import PAGE

LINE = 64  # bytes of a cache line


def _record(fields: str, **others: object) -> np.dtype:
    return np.dtype([(name, "i8") for name in fields.split()] + list(others.items()))


# One product: rows of a weight with rows of activations; `then` is where weights begin that will be wanted after them.
JOB = _record("w row_bytes rows width x x_stride tokens y y_stride scratch then")

# A weight matrix, its kernels, whether they take float activations, how many rows are one piece of work, and its bias
# (0: none).
WEIGHT = _record("data row_bytes rows width gemv gemm floats chunk bias")

# The address of the weight (0: no norm) and how many numbers it is over.
NORM = _record("weight width", eps="f8")

# A block of a layer: its kernels for one token and for many, how many phases each has, and its own record.
BLOCK = _record("one many phases_one phases_many at")

# `rope` is the number of its rotation, `rotated` how many pairs (0: none), `halves` whether they are (i, i + rotated).
# `pool` and `place` are where the cache keeps its keys and values: among which pages, and at which number in each;
# `room` is what a head has there, in numbers and (`kv_row`) in bytes;
# `attend` the kernel for such a cache, `block` how many tokens of a prompt it takes together, `spread` whether keys are
# spread out in it. `residual`: its result is multiplied by that. 0 is none of anything.
ATTENTION = _record(
    "heads kv_heads size room window sinks rope rotated halves pool place kv_row attend block spread",
    norm=NORM,
    q=WEIGHT,
    k=WEIGHT,
    v=WEIGHT,
    output=WEIGHT,
    q_norm=NORM,
    k_norm=NORM,
    scale="f8",
    residual="f8",
)

# gate, up and down are tables of the E experts' WEIGHTs and then the shared one's; `slots` are those that serve a
# token, the `active` ones chosen and then the shared one. Without a router (router 0) there is one expert. `scores` and
# `kind` (of the activation) are numbers of SCORES and ACTIVATIONS.
MIXTURE = _record(
    "router experts active slots scores normalized bias logits_bias shared shared_gate gate up down kind",
    norm=NORM,
    scale="f8",
    alpha="f8",
    limit="f8",
    residual="f8",
)
SCORES = ("softmax", "sigmoid")
ACTIVATIONS = ("silu", "gelu", "clamped")

# `activations`: how they are quantized, WIDE to 16 bits, UNTURNED without the sections that only row products read.
NETWORK = _record("blocks width kv activations output_kernel", norm=NORM, output=WEIGHT)
WIDE, UNTURNED = 1, 2

# What the rows of a pass are rotated by: cosines and sines (T, n).
ROTATION = _record("cos sin")

# One forward pass over blocks first to last (exclusive), of one token `alone` or of many; the final norm and output
# follow if `finish`. With `keys_only` it ends where the keys and values of the first are stored.
# Rows of T tokens: x (the residual stream), q, k, v, mixed (attention's result), xf and xq (a block's input as floats
# and quantized), scores (the routers' E), chosen, mix and place (a token's slots). Rows of all slots, grouped by
# expert: order (the slot's token), gathered and gathered_floats (its input), hidden and hidden_floats (its hidden
# state), outs (its result). starts (E + 2): an expert's first slot. used (2 + E): how many experts have tokens, and
# which, fewest tokens first; where experts are streamed, those of them that a pass computes, of one token its slots.
# `shared`: whether the shared expert of many tokens is computed. *_bytes are strides. partials: attention's splits
# when decoding. `threads`: how many the team has.
STEP = _record(
    "network first last alone finish tokens logits counters yields private private_bytes threads x rotations pages "
    "page_count spans span_count wanted wanted_count q k v mixed mixed_bytes partials xf xf_bytes xq xq_bytes "
    "scores chosen mix place order starts used gathered gathered_floats hidden hidden_bytes hidden_floats "
    "hidden_floats_bytes outs keys_only shared"
)

# Consecutive tokens of one sequence: rows row..row+count, positions from start on, its pages of each pool from
# `pages[pool · page_count + page]` on.
SPAN = _record("row start count page")

# Queries of one kv head over positions p0..p1 of one sequence; query i sees positions up to limits[i], which never
# fall, and of these the last `window` (0: all). There is room for whole fours of queries. keys and values are byte
# offsets into a page, row the bytes of a position there; `few`: no more than FEW queries. Results: o (n, d),
# m (n,) largest score, l (n,) sum of weights.
ATTEND = _record("q queries limits window pages keys values row p0 p1 room few o m l scratch")

# What a thread has to itself; `job` and `attend` are records it fills, `one` and `two` hold a chunk of results or a
# router's scores, `gate` and `up` TILES results for each token of a prompt, `key` a head.
PRIVATE = _record("job attend xf xq hidden hidden_bytes one two chosen mix gate up key queries limits results scratch")

# The team of threads. What several threads write has a cache line to itself.
TEAM = np.dtype(
    {
        "names": ["kernel", "argument", "patience", "open", "inside", "epoch"],
        "formats": ["i8"] * 6,
        "offsets": [0, 8, 16, 64, 128, 192],
        "itemsize": 256,
    }
)

# A measurement of memory: `size` bytes from `start`, read as several streams, asked for `ahead` bytes early.
PROBE = _record("start size streams ahead counters result")

COUNTER = 128  # bytes of a phase's counter: pieces taken and pieces done, a cache line each

# Phases of each block for one token and for many: how many counters a kernel uses.
PHASES = {
    "attention": (3, 6),
    "mixture": (3, 6),
    "output": (1, 2),
    "route": (2, 3),
    "gate_up": (1, 1),
    "down": (1, 1),
    "add": (1, 1),
}

KINDS = ("f32", "f16", "q8_0", "q4_0")  # of keys and values, by the numbers that NETWORK.kv has

EARLY = 32  # positions ahead of those in hand, whose keys and values attention asks for
SPLIT = 4 * PAGE  # positions that one thread attends to at a time when decoding, at least
SPLITS = 16  # parts of a long sequence, at most: what is read at the start of a part was not asked for in time
# Queries of a token that share a head's keys, at most, for which reading these where they lie is fastest: with the 8 of
# gpt-oss decoding at a depth of 16,384 loses 15 % of its speed where turning keys loses 23 %.
FEW = 8
ROUNDED = 128  # numbers of a head, at most, for prompts to attend in whole numbers
ROWS, COLUMNS = 16, 4096  # of a tile, at most
LARGEST = 1024  # rows of one piece of work when decoding, at most: the size of a thread's result buffers
TILES = 64  # rows of a weight that are one piece of work in a prompt: whole tiles, and one vector of int8


def offset(record: np.dtype, field: str) -> int:
    """Where a field lies in a record."""
    fields: Any = record.fields
    return int(fields[field][1])


def fields_of(record: NDArray) -> memoryview:
    """The numbers of a record, in their order, to be set in less time than by their names."""
    return record.reshape(1).view(np.int64).data


def address_of(array: NDArray) -> int:
    """Where an array begins (0: it is empty), in a quarter of the time that `ctypes.data` takes.

    TypeError, ValueError: it may not be written to, or has gaps.
    """
    return ctypes.addressof(ctypes.c_char.from_buffer(array.data)) if array.size else 0


def padded(width: int) -> int:
    """Activations are padded with zeros to eight blocks of 32."""
    return (width + 255) // 256 * 256


TINY = 2.0**-60  # scales of activations are no smaller, nor those of weights in units: products are normal numbers

# The zero point that most formats have whose groups are of so many weights: their products begin with stored sums.
ZEROS = {16: 32, 32: 128}

BIG = 1.5 * 2**23  # about it floats are one apart: to add whole numbers to its bits is to add them to the float

# A quantized row of activations of padded width P: where its sections start, in eighths of P, and bytes for 32 columns.
SECTIONS = {
    "values": (0, 32),  # int8
    "scales": (8, 4),  # float32, one for 32 values, a power of two
    "floats32": (9, 4),  # float32, scale · sum of 32 values: they serve the minima
    "floats16": (10, 8),
    "sums32": (12, 4),  # int32, sums of 32 values times -ZEROS[32]: they serve the formats' zero points
    "sums16": (13, 8),
    "turned_values": (15, 32),  # int8, the values once more, the 4 · 4 runs of 16 of each 256 transposed: see UNTURNED
    # With activations of 8 bits:
    "starts": (23, 4),  # float32, scale · BIG: what products begin at (units.py)
    "starts32": (24, 4),  # int32, the bits of these and sums32
    "starts16": (25, 8),
    # With activations of 16 bits:
    "low": (23, 32),  # int8: a value is 256 · values + low
    "turned_low": (31, 32),
    "words": (39, 64),  # int16, the same values where isa.pairs: of each 16 columns the even ones, then the odd ones
}


def quantized_bytes(width: int, wide: bool = False) -> int:
    """Bytes of one quantized row of activations of 8 bits, or, wide, of 16."""
    return (padded(width) // 8 * (55 if wide else 27) + 63) // 64 * 64


def room(head_dim: int) -> int:
    """A head's place in the cache is padded to whole vectors."""
    return (head_dim + 15) // 16 * 16


def attention_scratch(head_room: int) -> int:
    """Turned keys, widened values, weights of four queries and what their sums keep; rounded ones of 64 positions."""
    return 4 * 64 * head_room + 40 * 64 + LINE


def block_of_tokens(group: int) -> int:
    """Tokens of a prompt whose queries, `group` a kv head, share a pass over the keys: each pass turns or rounds these
    and the values, which with 64 queries takes a fifth of its time. Smaller blocks are shared out more evenly.
    """
    return 64 if group > 2 else 128


def fours(queries: int) -> int:
    """Attention takes queries four at a time."""
    return (queries + 3) // 4 * 4


def tile_scratch() -> int:
    """A tile of any format: codes, and scales and minima of 16 columns, the smallest group."""
    return ROWS * COLUMNS + COLUMNS // 16 * 2 * LINE + LINE
