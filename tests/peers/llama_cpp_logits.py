"""Logits of llama.cpp through its C interface, for the scripts that compare with them."""

import ctypes

import llama_cpp
import numpy as np

from quant.format import Floats

BATCH = 512  # rows at once, as its tools have it


class LlamaCpp:
    """One model and one sequence of at most `context` tokens."""

    def __init__(self, path: str, context: int, threads: int | None = None) -> None:
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch = context, BATCH
        if threads is not None:
            params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        self.vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        self._ids: list[int] = []

    def forget(self) -> None:
        """What follows is computed from its beginning."""
        self._ids = []

    def logits(self, ids: list[int], first: int) -> Floats:
        """Logits (T - first, V) of the rows from `first` on. What the text before had in common is not computed."""
        same = next((i for i, (a, b) in enumerate(zip(self._ids, ids, strict=False)) if a != b), len(self._ids))
        same = min(same, first)
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._context), 0, same, -1)
        rows = []
        for at in range(same, len(ids), BATCH):
            part = ids[at : at + BATCH]
            batch = llama_cpp.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for i, token in enumerate(part):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, at + i, 1, 0
                batch.logits[i] = at + i >= first
            assert llama_cpp.llama_decode(self._context, batch) == 0
            for i in range(max(first - at, 0), len(part)):
                row = ctypes.cast(llama_cpp.llama_get_logits_ith(self._context, i), ctypes.POINTER(ctypes.c_float))
                rows.append(np.ctypeslib.as_array(row, (self.size,)).copy())
            llama_cpp.llama_batch_free(batch)
        self._ids = list(ids)
        return np.stack(rows)
