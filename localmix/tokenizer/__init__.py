"""Text to token ids and back, with the vocabulary that a GGUF file carries.

`from_metadata` reads the `tokenizer.ggml.*` keys and picks the engine: `spm` (SentencePiece, "llama") or
`bpe` (byte-level BPE, "gpt2"). Both sit behind one Tokenizer. Nothing here knows a model or a template.
"""

from localmix.errors import UnsupportedError
from localmix.tokenizer.keys import Metadata, read_string
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
    # The engines are imported here because their libraries cost 10 to 30 ms each and a file needs only one.
    if model == "llama":
        from localmix.tokenizer import spm

        vocabulary = read_vocabulary(metadata, bos=spm.BOS, eos=spm.EOS, add_bos=True)
        return Tokenizer(vocabulary, spm.from_vocabulary(vocabulary, metadata))
    if model == "gpt2":
        from localmix.tokenizer import bpe

        cut = bpe.pre_tokenizer(metadata)
        vocabulary = read_vocabulary(metadata, add_bos=cut.adds_bos)
        return Tokenizer(vocabulary, bpe.from_vocabulary(vocabulary, metadata, cut))
    raise UnsupportedError(
        f"tokenizer.ggml.model is {model!r}; this version reads 'llama' (SentencePiece) and 'gpt2' (BPE)"
    )
