"""Names of tensors as transformers' causal models have them, where a checkpoint was saved from within another one."""

from localmix.convert.safetensors import Slice
from localmix.errors import FileFormatError

_EMBEDDING, _OUTPUT = "embed_tokens.weight", "lm_head.weight"
_PREFIX = "model."


def with_prefix(slices: dict[str, Slice]) -> dict[str, Slice]:
    """The tensors under names that begin with `model.`, the output's under `lm_head.weight`.

    A bare network is saved without the prefix, the text half of one that sees with a longer one. What is not part of
    the text model keeps its name, and is found to have no place later. FileFormatError: two tensors get one name.
    """
    embeddings = [name for name in slices if f".{name}".endswith("." + _EMBEDDING)]
    if len(embeddings) != 1 or embeddings[0] == _PREFIX + _EMBEDDING:
        return slices
    prefix = embeddings[0].removesuffix(_EMBEDDING)
    found: dict[str, Slice] = {}
    for name, piece in slices.items():
        new = _PREFIX + name.removeprefix(prefix) if name.startswith(prefix) else name
        if f".{name}".endswith("." + _OUTPUT):
            new = _OUTPUT
        if new in found:
            raise FileFormatError(f"{piece.matrix.origin(0)}: another tensor has the same place, {new}")
        found[new] = piece
    return found
