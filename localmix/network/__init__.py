"""From a file to a network. To add a family: a module in families/ and a row in FAMILIES."""

from collections.abc import Callable
from typing import Any, Protocol

from localmix import gguf
from localmix.errors import FileFormatError, UnsupportedError
from localmix.network import numbers
from localmix.network.decoder import Network
from localmix.network.families import gpt_oss, granite, llama, mixtral, olmoe, qwen2, qwen2_moe, qwen3, qwen3_moe
from localmix.network.keys import Keys
from localmix.network.layout import Layout
from localmix.network.numbers import Numbers
from localmix.network.tensors import Found, Tensors, Wanted


class Family(Protocol):
    """What a module in families/ offers."""

    HUGGING_FACE: dict[str, Layout]  # by config.json's model_type: how its checkpoints are laid out

    def network(self, k: Keys, n: Numbers, t: Tensors, /) -> Network: ...


# By general.architecture and whether there are experts: "llama" is said by Llama and Mixtral alike.
FAMILIES: dict[tuple[str, bool], Family] = {
    ("llama", True): mixtral,
    ("llama", False): llama,
    ("qwen2", False): qwen2,
    ("qwen2moe", True): qwen2_moe,
    ("qwen3", False): qwen3,
    ("qwen3moe", True): qwen3_moe,
    ("olmoe", True): olmoe,
    ("granite", False): granite,
    ("granitemoe", True): granite,
    ("gpt-oss", True): gpt_oss,
    ("gptoss", True): gpt_oss,  # in Ollama's own files
}

# By config.json's model_type, and Mistral's own by whether there are experts: how checkpoints are laid out.
HUGGING_FACE = {kind: layout for family in FAMILIES.values() for kind, layout in family.HUGGING_FACE.items()}
MISTRAL = {False: llama.MISTRAL, True: mixtral.MISTRAL}


def load(file: gguf.File) -> Network:
    """The network of a file. Reads no weights but the norms, routers and biases.

    FileFormatError, UnsupportedError: what is missing, of another shape, or not carried out, by name.
    """
    tensors = Found(file)
    keys = _keys(str(file.path), file.metadata)
    vocabulary = tensors.take("token_embd.weight", (-1, -1)).shape[0]
    network = _network(keys, tensors, vocabulary)
    keys.finish()
    tensors.finish()
    _check_vocabulary(keys.path, file.metadata.get("tokenizer.ggml.tokens"), vocabulary)
    return network


def shapes(
    path: str, metadata: dict[str, Any], vocabulary: int, has: Callable[[str], bool]
) -> dict[str, tuple[int, ...]]:
    """The tensors that a file with this metadata must hold, in order; `has` says which of the optional ones it will."""
    wanted = Wanted(has)
    outline(path, metadata, vocabulary, wanted)
    return wanted.shapes


def outline(path: str, metadata: dict[str, Any], vocabulary: int, wanted: Wanted) -> Network:
    """The network of a file with this metadata, in which weights are nothing but shapes. Errors as `load`'s."""
    keys = _keys(path, metadata)
    network = _network(keys, wanted, vocabulary)
    keys.finish()
    return network


def _keys(path: str, metadata: dict[str, Any]) -> Keys:
    name = metadata.get("general.architecture")
    if not any(name == known for known, _ in FAMILIES):
        known = ", ".join(sorted({one for one, _ in FAMILIES}))
        raise UnsupportedError(f"{path}: general.architecture is {str(name)!r}: expected one of {known}")
    return Keys(path, metadata)


def _network(keys: Keys, tensors: Tensors, vocabulary: int) -> Network:
    n = numbers.read(keys, vocabulary)
    name, sparse = keys.prefix.rstrip("."), n.experts > 0
    if (name, sparse) not in FAMILIES:
        raise FileFormatError(f"{keys.path}: {name} with {n.experts} experts: expected {'none' if sparse else 'some'}")
    return FAMILIES[name, sparse].network(keys, n, tensors)


def _check_vocabulary(path: str, tokens: Any, rows: int) -> None:
    """As many tokens as rows of the embedding: an id of one must mean something to the other."""
    if tokens is None:
        raise FileFormatError(f"{path}: metadata key tokenizer.ggml.tokens is missing: the file has no vocabulary")
    if not isinstance(tokens, list):
        raise FileFormatError(f"{path}: tokenizer.ggml.tokens is not a list of strings: convert the model again")
    if len(tokens) != rows:
        raise FileFormatError(f"{path}: tokenizer.ggml.tokens has {len(tokens)} tokens, token_embd.weight {rows} rows")
