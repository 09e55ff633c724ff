"""Arrays of one shape, taken and given back. Several users may hold one; who wants to write it gets a copy then."""

import numpy as np
from numpy.typing import NDArray

SLAB = 64 << 20  # bytes allocated at once: from 4 MiB on NumPy asks for huge pages
HUGE = 2 << 20  # bytes of a huge page


class PagePool:
    """Pages are known by their numbers; `most` are allocated at once. Memory given back is used again, never freed."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, most: int) -> None:
        self.shape, self.dtype = shape, dtype
        self.pages: list[NDArray] = []
        self.addresses: list[int] = []
        self._count = min(most, max(1, SLAB // self.page_bytes))
        self._users: list[int] = []  # who hold each page; 0: free

    def take(self) -> int:
        """A page of one user's, with anything in it."""
        for page, users in enumerate(self._users):
            if users == 0:
                self._users[page] = 1
                return page
        first, size = len(self.pages), self._count * self.page_bytes
        self.pages += list(_zeros(size).view(self.dtype).reshape(self._count, *self.shape))
        self.addresses += [page.ctypes.data for page in self.pages[first:]]
        self._users += [1] + [0] * (self._count - 1)
        return first

    def hold(self, page: int) -> None:
        """One more user."""
        self._users[page] += 1

    def release(self, page: int) -> None:
        """One user less."""
        self._users[page] -= 1

    def owned(self, page: int) -> int:
        """The page for one of its users alone: itself, or a copy."""
        if self._users[page] == 1:
            return page
        fresh = self.take()
        self.pages[fresh][:] = self.pages[page]
        self.release(page)
        return fresh

    @property
    def page_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Of the pages in use."""
        return self.page_bytes * sum(users > 0 for users in self._users)


def _zeros(size: int) -> NDArray[np.uint8]:
    """Bytes on whole huge pages: with small ones attention waits for addresses, half of its time at depth 16,384."""
    memory = np.zeros(size + HUGE, np.uint8)
    start = -memory.ctypes.data % HUGE
    return memory[start : start + size]
