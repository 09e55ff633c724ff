"""The measuring itself, on every backend: which tests are run, and that their figures are numbers."""

import numpy as np

from localmix.measure import bench
from localmix.model import Model


def test_every_backend(upcycled: Model) -> None:
    plan = bench.Plan(prompts=(3, 5000), decoded=2, batches=(1, 2), depths=(0, 65), repeats=1)
    results = list(bench.run(upcycled, plan, lambda: 1e9))
    assert [(r.test, r.depth, r.batch) for r in results] == [
        (test, depth, batch) for depth in (0, 65) for test, batch in (("pp3", 1), ("tg2", 1), ("tg2", 2))
    ]  # what does not fit in the context is left out
    assert {r.backend for r in results} == {upcycled.backend.name}
    assert all(np.isfinite(r.tokens_per_second) and r.tokens_per_second > 0 for r in results)
    for r in results:
        one_decoded = r.test == "tg2" and r.batch == 1
        assert (r.gb_per_second is not None) is one_decoded
        if one_decoded:
            assert r.share_of_bound is not None  # its value: test_beside.py
            assert r.share_of_bound > 0


def test_what_a_prompt_is_spared_is_not_counted(upcycled: Model) -> None:
    """Of the last layer's products numba makes those of queries, keys and values."""
    net, layer = upcycled.network, upcycled.network.layers[-1]
    a, hidden = layer.attention, layer.mixture.experts.hidden
    projections = net.width * (a.heads + 2 * a.kv_heads) * a.size
    others = a.heads * a.size + net.active * 3 * hidden + net.experts
    all_of_it = projections + net.width * others
    assert bench.products(upcycled, output=False) == len(net.layers) * all_of_it
    assert bench.spared(upcycled) == (all_of_it - projections if upcycled.backend.name == "numba" else 0)
