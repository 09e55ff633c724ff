"""Threads come with the first pass and go with the model."""

import gc
import threading
import time

import numpy as np
from small_models import STORIES

import localmix
from localmix.backends.numba.passes.records import TEAM
from localmix.backends.numba.passes.team import AWAKE, Team, _Crew, _work


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("localmix-")}


def test_threads_end_with_their_model() -> None:
    others = workers()  # of models that other tests have left, which may end meanwhile
    for _ in range(3):
        model = localmix.load(STORIES, backend="numba", threads=3)
        assert model.logits([1, 2]).shape[0] == 2
        assert len(workers() - others) >= 2
        del model
    gc.collect()
    deadline = time.monotonic() + 10
    while left := workers() - others:
        assert time.monotonic() < deadline, f"{len(left)} threads are left"
        time.sleep(0.01)


def test_a_pass_that_begins_while_a_thread_gives_up_is_not_slept_through() -> None:
    """Between giving up and sleeping a thread waits for the interpreter, which the one that begins a pass holds."""
    crew, served = _Crew(np.zeros(1, TEAM), 1), list[int]()

    def serve(_: int, thread: int) -> int:
        served.append(thread)
        if len(served) == 1:
            crew.record["epoch"] += 1  # nobody was asleep yet, so no bell is rung
        else:
            crew.dismiss()
        return 0

    thread = threading.Thread(target=_work, args=(crew, serve, 0), daemon=True)
    thread.start()
    thread.join(10)
    crew.dismiss()
    assert served == [1, 1]


def test_a_worker_stays_awake_for_the_time_between_two_tokens() -> None:
    """However long a processor pauses; other programs may make it longer."""
    assert AWAKE / 4 < min(Team(2)._wait() for _ in range(5)) < 2 * AWAKE
