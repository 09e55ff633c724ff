"""A kind of keys and values that a backend has no kernels for is refused by name, not kept as another."""

import pytest

from localmix.engine import storage
from localmix.errors import LocalmixError
from localmix.model import Model


def test_a_kind_that_a_backend_lacks(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(storage.STORAGES, "f64", storage.Storage("float64"))
    if stories.backend.name == "reference":  # it keeps what NumPy can
        stories.logits([1, 2, 3], kv="f64")
        return
    with pytest.raises(LocalmixError, match="f64"):
        stories.logits([1, 2, 3], kv="f64")
