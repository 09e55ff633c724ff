"""Text cut into windows, and the passes that compute them."""

from pathlib import Path

import numpy as np
import pytest
import small_models

import localmix
from localmix.engine.cache import PagedCache
from localmix.errors import LocalmixError
from localmix.measure import windows
from localmix.measure.windows import Window
from localmix.tokenizer import Tokenizer

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 8


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return localmix.load(small_models.STORIES, "reference").tokenizer


def test_cut_as_llama_cpp_does(tokenizer: Tokenizer) -> None:
    """BOS stands in the place of each window's first token; the rest is dropped; the second half is scored."""
    ids = tokenizer.encode(TEXT)
    cut = windows.cut(tokenizer, TEXT, 33)
    assert len(cut) == len(ids) // 33 > 3
    for i, window in enumerate(cut):
        assert list(window.ids) == [tokenizer.bos, *ids[33 * i + 1 : 33 * i + 33]]
        assert window.first == 16
    assert len(windows.cut(tokenizer, TEXT, 33, most=2)) == 2


def test_a_file_that_wants_no_bos_gets_none(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "add_bos", False)
    ids = tokenizer.encode(TEXT)
    assert [id for window in windows.cut(tokenizer, TEXT, 50) for id in window.ids] == ids[: len(ids) // 50 * 50]


def test_documents_are_scored_from_the_beginning_on(tokenizer: Tokenizer) -> None:
    cut = windows.documents(tokenizer, ["Hello", "", TEXT], 40)
    assert [(window.ids[0], window.first) for window in cut] == [(tokenizer.bos, 0)] * 2
    assert len(cut[1]) == 40


@pytest.mark.parametrize("sizes", [[7, 5, 3], [20, 4], [8, 8, 9, 2], [16]])
def test_passes_score_each_token_once(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Short windows share a pass, long ones take several; whatever the sizes, targets follow the rows wanted."""
    monkeypatch.setattr(windows, "CHUNK", 8)
    cut = [Window(np.arange(100 * i, 100 * i + size).tolist(), size // 2) for i, size in enumerate(sizes)]
    cache = PagedCache(1, 1, 2, max(sizes))
    targets: list[int] = []
    tokens = 0
    for batch, wanted in windows.passes(cut, cache):
        assert len(batch) <= 8
        cache.reserve(batch)
        cache.commit(batch)
        tokens += len(batch)
        targets += wanted.tolist()
        if wanted.size:
            assert (batch.ids[batch.wanted] + 1).tolist() == wanted.tolist()
    assert tokens == sum(sizes)
    assert targets == [i for window in cut for i in window.ids[window.first + 1 :]]
    assert not cache._sequences  # pages are used again


def test_what_cannot_be_cut(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(LocalmixError, match=r"the text has .* tokens: expected at least the 512"):
        windows.cut(tokenizer, "short", 512)
    with pytest.raises(LocalmixError, match="context of 1 tokens: expected 2 or more"):
        windows.cut(tokenizer, TEXT, 1)
    latin = tmp_path / "latin.txt"
    latin.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(LocalmixError, match="byte 0xef at 2, expected UTF-8"):
        windows.read_text(latin)
    with pytest.raises(LocalmixError, match="No such file"):
        windows.read_text(tmp_path / "none.txt")
