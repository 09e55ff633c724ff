"""Text to token ids and back, with the vocabulary that a GGUF file carries.

`from_metadata` reads the `tokenizer.ggml.*` keys and picks the engine: `spm` (SentencePiece, "llama") or `bpe`
(merges, "gpt2" and "gemma4"). Both sit behind one Tokenizer. Nothing here knows a model or a template.
"""

from localmix.errors import UnsupportedError
from localmix.tokenizer.keys import Metadata, read_string
from localmix.tokenizer.rules import GEMMA4, Rules, read_rules, rules_of_cut
from localmix.tokenizer.tokenizer import Stream, Tokenizer
from localmix.tokenizer.vocabulary import read_vocabulary

__all__ = ["Stream", "Tokenizer", "from_metadata"]


def from_metadata(metadata: Metadata) -> Tokenizer:
    """The tokenizer that a GGUF file describes.

    `metadata` is as `localmix.gguf` reads it: texts and merges are list[str], scores and types NumPy arrays.
    Raises FileFormatError for keys that are missing or contradict each other, and UnsupportedError for a kind
    of vocabulary or a pre-tokenizer that this version does not know.
    """
    model = read_string(metadata, "tokenizer.ggml.model")
    rules = read_rules(metadata)
    # The engines are imported here because their libraries cost 10 to 30 ms each and a file needs only one.
    if model == "llama" and not (rules and rules.raw):
        if metadata.get("tokenizer.ggml.pre") == "gemma4":  # as Ollama converts Gemma 4
            return _with_merges(metadata, GEMMA4, add_bos=True)
        from localmix.tokenizer import spm

        vocabulary = read_vocabulary(metadata, bos=spm.BOS, eos=spm.EOS, add_bos=True, rules=rules)
        first_only = rules is not None and rules.first_space_only
        return Tokenizer(vocabulary, spm.from_vocabulary(vocabulary, metadata, first_only=first_only))
    if rules is not None:
        return _with_merges(metadata, rules, add_bos=False)
    if model == "gemma4":
        return _with_merges(metadata, GEMMA4, add_bos=True)
    if model == "gpt2":
        from localmix.tokenizer import bpe

        cut = bpe.cut_of(metadata)
        return _with_merges(metadata, rules_of_cut(cut), add_bos=cut.adds_bos)
    raise UnsupportedError(
        f"tokenizer.ggml.model is {model!r}; this version reads 'llama' (SentencePiece), 'gpt2' and 'gemma4' (BPE)"
    )


def _with_merges(metadata: Metadata, rules: Rules, *, add_bos: bool) -> Tokenizer:
    from localmix.tokenizer import bpe

    vocabulary = read_vocabulary(metadata, add_bos=add_bos, rules=rules)
    return Tokenizer(vocabulary, bpe.from_vocabulary(vocabulary, metadata, rules))
