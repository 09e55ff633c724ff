"""A GGUF file written field by field, so that tests can find each field by name and damage it.

Knows the layout independently of localmix.gguf: it is the other half of the comparison.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = dict(zip((U8, I8, U16, I16, U32, I32, F32, BOOL, U64, I64, F64), "BbHhIif?Qqd", strict=True))
FORMAT_F32, FORMAT_Q4_0 = 0, 2


@dataclass
class Draft:
    """Bytes under construction, and where each named field lies: name -> (offset, width)."""

    raw: bytearray = field(default_factory=bytearray)
    fields: dict[str, tuple[int, int]] = field(default_factory=dict)

    def put(self, name: str, code: str, value: object) -> None:
        assert name not in self.fields, name
        self.fields[name] = (len(self.raw), struct.calcsize(code))
        self.raw += struct.pack(code, value)

    def text(self, name: str, content: str | bytes) -> None:
        encoded = content.encode() if isinstance(content, str) else content
        self.put(f"{name} length", "<Q", len(encoded))
        self.fields[f"{name} text"] = (len(self.raw), len(encoded))
        self.raw += encoded

    def value(self, name: str, kind: int, value: object) -> None:
        """A value after its type. An array is (type of the items, items)."""
        if kind == STRING:
            assert isinstance(value, str | bytes)
            self.text(name, value)
        elif kind == ARRAY:
            assert isinstance(value, tuple)
            inner, items = value
            self.put(f"{name} item type", "<I", inner)
            self.put(f"{name} count", "<Q", len(items))
            for index, item in enumerate(items):
                self.value(f"{name}[{index}]", inner, item)
        else:
            self.put(name, "<" + PACK[kind], value)

    def pair(self, key: str, kind: int, value: object) -> None:
        self.text(f"{key} key", key)
        self.put(f"{key} type", "<I", kind)
        self.value(key, kind, value)

    def tensor(self, name: str, dims: list[int], kind: int, offset: int) -> None:
        """`dims` innermost first, as in the file."""
        self.text(f"{name} name", name)
        self.put(f"{name} dims", "<I", len(dims))
        for axis, size in enumerate(dims):
            self.put(f"{name} dim {axis}", "<Q", size)
        self.put(f"{name} format", "<I", kind)
        self.put(f"{name} offset", "<Q", offset)

    def align(self, to: int = 32) -> None:
        self.raw += bytes(-len(self.raw) % to)


PAIRS: list[tuple[str, int, object]] = [
    ("general.architecture", STRING, "llama"),
    ("general.alignment", U32, 32),
    ("an.u8", U8, 200),
    ("an.i8", I8, -100),
    ("an.u16", U16, 60000),
    ("an.i16", I16, -30000),
    ("an.i32", I32, -2000000000),
    ("an.u64", U64, 2**63 + 1),
    ("an.i64", I64, -(2**62)),
    ("an.f32", F32, 0.25),
    ("an.f64", F64, 0.1),
    ("a.bool", BOOL, True),
    ("tokenizer.ggml.tokens", ARRAY, (STRING, ["<s>", "é", b"\xe2\x96", ""])),
    ("tokenizer.ggml.scores", ARRAY, (F32, [0.0, -1.0, -2.0, -3.0])),
    ("some.bools", ARRAY, (BOOL, [True, False])),
    ("some.nested", ARRAY, (ARRAY, [(I32, [1, 2]), (STRING, ["x"]), (ARRAY, [(U8, [7])])])),
    ("empty.strings", ARRAY, (STRING, [])),
    ("empty.numbers", ARRAY, (U16, [])),
]

# name, dims innermost first, type, bytes
TENSORS: list[tuple[str, list[int], int, int]] = [
    ("token_embd.weight", [32, 3, 2], FORMAT_Q4_0, 6 * 18),
    ("blk.0.empty.weight", [64, 0], FORMAT_F32, 0),
    ("output_norm.weight", [5], FORMAT_F32, 20),
]


def small(version: int = 3, edit: Callable[[Draft], None] | None = None) -> Draft:
    """A file with every type of value and three tensors; the bytes of the weights count up. `edit` adds pairs."""
    draft = Draft()
    draft.raw += b"GGUF"
    draft.fields["magic"] = (0, 4)
    draft.put("version", "<I", version)
    draft.put("tensor count", "<Q", len(TENSORS))
    draft.put("metadata count", "<Q", len(PAIRS))
    for key, kind, value in PAIRS:
        draft.pair(key, kind, value)
    if edit is not None:
        edit(draft)
    offset = 0
    for name, dims, kind, size in TENSORS:
        draft.tensor(name, dims, kind, offset)
        offset += size + -size % 32
    draft.align()
    for *_, size in TENSORS:
        draft.raw += bytes(index % 251 for index in range(size))
        draft.align()
    return draft
