"""GGUF files: a memory-mapped reader that copies no weights, and a writer that streams them.

`gguf.open(path)` gives a `File`: metadata as Python values, tensors as read-only views on the map.
`gguf.Writer` writes a file aside and moves it into place. Everything read is checked before it is used; what
is wrong is named in one line. The PyPI package of the same name is never imported here: it takes seconds to
read a real vocabulary. Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from localmix.gguf.metadata import Reserved, Value
from localmix.gguf.patch import patch
from localmix.gguf.reader import File, open
from localmix.gguf.tensors import Extent, Tensor, TensorInfo
from localmix.gguf.writer import Writer

__all__ = ["Extent", "File", "Reserved", "Tensor", "TensorInfo", "Value", "Writer", "open", "patch"]
