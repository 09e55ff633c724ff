"""Threads come with the first pass and go with the model."""

import gc
import threading
import time

from small_models import STORIES

import localmix


def workers() -> int:
    return sum(thread.name.startswith("localmix-") for thread in threading.enumerate())


def test_threads_end_with_their_model() -> None:
    before = workers()
    for _ in range(3):
        model = localmix.load(STORIES, backend="numba", threads=3)
        assert model.logits([1, 2]).shape[0] == 2
        assert workers() >= before + 2
        del model
    gc.collect()
    deadline = time.monotonic() + 10
    while workers() > before:
        assert time.monotonic() < deadline, f"{workers() - before} threads are left"
        time.sleep(0.01)
