"""How fast the disk gives experts, with the readers that a pool has: what its speed is later compared with."""

from localmix.stream.pool import Pool

_SAMPLE = 256 << 20  # bytes that are read at a time
_ROUNDS = 3  # in the first the memory of slots is touched for the first time


def rate(pool: Pool) -> float:
    """Bytes a second, at best, with nothing computed beside. LocalmixError: the file cannot be read."""
    count, best = max(min(_SAMPLE // pool.expert_bytes, pool.room()), 1), 0.0
    for _ in range(_ROUNDS):
        chosen = [key for key in pool.keys if not pool.has(key)][:count]
        before = pool.counts
        found = pool.hold(chosen)
        try:
            for held in found:
                pool.wait(held, range(len(held.places)))
        finally:
            pool.release(found)
        best = max(best, (pool.counts - before).speed)
    return best
