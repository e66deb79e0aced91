"""Progress and time of the parts of a long evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[str, int, int], object]  # part, done, total


class Clock:
    """Tells of each part as it goes, and keeps how long it took, in `seconds` by part."""

    def __init__(self, tell: Tell | None = None):
        self.seconds: dict[str, float] = {}
        self._tell = tell or (lambda part, done, total: None)

    @contextmanager
    def part(self, name: str) -> Iterator[Callable[[int, int], object]]:
        """A part; what it yields is to be called with (done, total) where there is something to count."""
        started = time.monotonic()
        self._tell(name, 0, 1)
        last = (0, 1)

        def tell(done: int, total: int) -> None:
            nonlocal last
            last = (done, total)
            self._tell(name, done, total)

        yield tell
        self._tell(name, last[1], last[1])
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
