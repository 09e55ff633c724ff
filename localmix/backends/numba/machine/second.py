"""A second process that compiles kernels, one after another: the compiler has one thread, machines have several cores.

It knows names only, and leaves what it made in the cache.
"""

import atexit
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

_NONE = subprocess.DEVNULL
_LOOK = 0.005  # seconds between two looks at the cache


class Second:
    """Compiles `names` in their order, and ends with this process. `stored`: whether a kernel is in the cache."""

    def __init__(self, names: Sequence[str], stored: Callable[[str], bool]) -> None:
        """OSError: there is no second process."""
        package = __name__.rpartition(".")[0]
        program = f"import sys; from {package} import native; [native.address(n) for n in sys.argv[1:]]"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._names, self._stored = list(names), stored
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, *names], env=environment, stdin=_NONE, stdout=_NONE, stderr=_NONE
        )
        atexit.register(self.end)

    def wait(self, names: Sequence[str]) -> None:
        """Until it has compiled these, or has ended."""
        while not all(map(self._stored, names)) and self._process.poll() is None:
            time.sleep(_LOOK)

    def present(self) -> str | None:
        """What it is compiling now, as far as the cache tells; None: it has ended."""
        if self._process.poll() is not None:
            return None
        return next((name for name in self._names if not self._stored(name)), None)

    def end(self) -> None:
        """Give it up; whatever it has not compiled is compiled where it is needed."""
        atexit.unregister(self.end)
        self._process.kill()
        self._process.wait()
