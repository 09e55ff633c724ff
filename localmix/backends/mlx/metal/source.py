"""Metal source of the kernels, generated from a format's table of lanes.

The body is written once; what differs between formats are integers. MLX makes the function's signature from the
names of inputs and outputs. Sizes are template arguments: BLOCKS a row, OUT rows of a matrix, T of activations.
"""

from localmix.backends.mlx.metal.lanes import COLUMNS, LANES, WEIGHTS, Lanes, offset

ROWS = 4  # of a matrix that a group of 32 lanes computes: each activation that is read serves all of them
GROUPS = 2  # of 32 lanes in a threadgroup

PRODUCT_INPUTS = ["weights", "x", "tokens", "matrices"]
_PRODUCT = """
    const uint lane = thread_index_in_simdgroup;
    const uint pair = threadgroup_position_in_grid.y;
    const uint first = (threadgroup_position_in_grid.x * GROUPS + simdgroup_index_in_threadgroup) * ROWS;
    if (first >= OUT) return;
    const device uchar* matrix = weights + (size_t(matrices[pair]) * OUT + first) * BLOCKS * BLOCK_BYTES;
    const device T* row = x + size_t(tokens[pair]) * BLOCKS * BLOCK_WEIGHTS;
    float sums[ROWS] = {};
    for (uint b = 0; b < BLOCKS; ++b) {
        float value[FIELDS][RUN];
        float total[FIELDS] = {};
        for (uint f = 0; f < FIELDS; ++f) {
            for (uint i = 0; i < RUN; ++i) {
                value[f][i] = float(row[b * BLOCK_WEIGHTS + LANE_TABLE[lane][f][AT_WEIGHT] + i]);
                total[f] += value[f][i];
            }
        }
        for (uint r = 0; r < ROWS && first + r < OUT; ++r) {
            const device uchar* block = matrix + (size_t(r) * BLOCKS + b) * BLOCK_BYTES;
            const uint low = block_run(block + LANE_TABLE[lane][0][AT_LOW]);
            const uint high = block_run(block + LANE_TABLE[lane][0][AT_HIGH]);
            for (uint f = 0; f < FIELDS; ++f) {
                const constant uchar* at = LANE_TABLE[lane][f];
                float dot = 0;
                for (uint i = 0; i < RUN; ++i) dot += float(block_code(low, high, at, i)) * value[f][i];
                sums[r] += block_scale(block, at) * dot - block_minimum(block, at) * total[f];
            }
        }
    }
    for (uint r = 0; r < ROWS; ++r) {
        const float sum = simd_sum(sums[r]);
        if (lane == 0 && first + r < OUT) y[size_t(pair) * OUT + first + r] = T(sum);
    }
"""

EXPAND_INPUTS = ["weights"]
_EXPAND = """
    const uint lane = thread_index_in_simdgroup;
    const uint b = threadgroup_position_in_grid.x * GROUPS + simdgroup_index_in_threadgroup;
    if (b >= uint(weights_shape[0])) return;
    const device uchar* block = weights + size_t(b) * BLOCK_BYTES;
    const uint low = block_run(block + LANE_TABLE[lane][0][AT_LOW]);
    const uint high = block_run(block + LANE_TABLE[lane][0][AT_HIGH]);
    for (uint f = 0; f < FIELDS; ++f) {
        const constant uchar* at = LANE_TABLE[lane][f];
        for (uint i = 0; i < RUN; ++i) {
            const float scaled = block_scale(block, at) * float(block_code(low, high, at, i));
            y[size_t(b) * BLOCK_WEIGHTS + at[AT_WEIGHT] + i] = T(scaled - block_minimum(block, at));
        }
    }
"""

# Blocks begin at even addresses and so do runs: 16 bits are read at a time.
_FUNCTIONS = """
inline uint block_run(const device uchar* p) {
    uint word = 0;
    for (uint i = 0; i < RUN / 2; ++i) word |= uint(((const device ushort*)p)[i]) << (16 * i);
    return word;
}

inline uint block_bits(uint word, uint shift, uint mask) { return (word >> shift) & mask; }

inline int block_code(uint low, uint high, const constant uchar* at, uint i) {
    const uint q = block_bits(low, 8 * i + at[AT_LOW_SHIFT], LOW_MASK);
    return int(q | block_bits(high, 8 * i + at[AT_HIGH_SHIFT], HIGH_MASK) << HIGH_AT) - ZERO;
}

inline uint block_level(const device uchar* block, const constant uchar* at) {
    return block_bits(block[at[0]], at[1], at[2]) | block_bits(block[at[3]], at[4], at[5]) << 4;
}

inline float block_scale(const device uchar* block, const constant uchar* at) {
    const int steps = int(block_level(block, at + AT_SCALE) ^ SCALE_SIGN) - SCALE_ZERO;
    return float(*(const device half*)(block + D_BYTE)) * float(steps);
}

inline float block_minimum(const device uchar* block, const constant uchar* at) {
    return MINIMA ? float(*(const device half*)(block + DMIN_BYTE)) * float(block_level(block, at + AT_LEAST)) : 0.0f;
}
"""


def header(lanes: Lanes) -> str:
    """Constants, the table, and the functions that read a block."""
    numbers = {
        "ROWS": ROWS, "GROUPS": GROUPS, "FIELDS": lanes.fields, "RUN": lanes.run,
        "BLOCK_BYTES": lanes.size, "BLOCK_WEIGHTS": WEIGHTS,
        "LOW_MASK": lanes.low_mask, "HIGH_MASK": lanes.high_mask, "HIGH_AT": lanes.high_at, "ZERO": lanes.zero,
        "SCALE_SIGN": lanes.scale_sign, "SCALE_ZERO": lanes.scale_zero, "MINIMA": int(lanes.minima),
        "D_BYTE": offset(lanes.layout, "d"), "DMIN_BYTE": offset(lanes.layout, "dmin") if lanes.minima else 0,
    } | {f"AT_{name.upper()}": i for i, name in enumerate(COLUMNS)}  # fmt: skip
    constants = "".join(f"#define {name} {value}\n" for name, value in numbers.items())
    rows = ",\n".join(
        "{" + ", ".join("{" + ", ".join(map(str, row)) + "}" for row in fields) + "}"
        for fields in lanes.table().tolist()
    )
    shape = f"[{LANES}][{lanes.fields}][{len(COLUMNS)}]"
    return f"{constants}constant uchar LANE_TABLE{shape} = {{\n{rows}}};\n{_FUNCTIONS}"


def product() -> str:
    """The body that multiplies rows of activations, each with a matrix of a stack: y (pairs, OUT)."""
    return _PRODUCT


def expand() -> str:
    """The body that unpacks blocks: y (blocks, 256)."""
    return _EXPAND
