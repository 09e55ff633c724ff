"""Random requests against a server of its own: python tests/peers/storm.py [REQUESTS]

Good and bad ones, streams and not, clients that leave or die at any time, more at once than there are places and than
may wait. No answer but 200, 400, 429 and 503; every whole answer is the text that the library gives alone; no place is
lost and memory stays. Bounded: seconds on two cores for 1,000.
"""

import resource
import sys
import time
from pathlib import Path

import localmix

sys.path.insert(0, str(Path(__file__).parents[1]))
from server.random_requests import Storm, wrong
from server.served import served

CLIENTS = 24
MOST = 20  # MB that memory may grow by


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    model = localmix.load()
    with served(model, parallel=6, queue=8, memory=64 << 20) as server:
        storm = Storm(server.port)
        storm.blow(1_000_000, count // 5, CLIENTS)  # what these take at first is not counted
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        storm.statuses.clear()
        began = time.perf_counter()
        storm.blow(0, count, CLIENTS)
        took = time.perf_counter() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"{count} requests in {took:.0f} s: {dict(storm.statuses)}; memory +{grown:.1f} MB")
        assert server.idle(), "a place is lost"
        assert set(storm.statuses) <= {200, 400, 429, 503, "left", "died"}, storm.statuses
        assert grown < MOST
        others = wrong(model, storm.found)
        print(f"{len(storm.found)} texts, {others} of them other than alone")
        assert not others
        server.should_exit = True


if __name__ == "__main__":
    main()
