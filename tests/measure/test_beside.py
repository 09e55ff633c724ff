"""Shares of what memory gives, on a clock and a machine of the test's own."""

import pytest

from localmix.measure import beside


class Machine:
    """Time passes only here. Memory gives 100 bytes a second, from second 10 on 50, and steps have 60 % of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rates: list[float] = []  # that were read

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def rate(self) -> float:
        return 100.0 if self.now < 10 else 50.0

    def probe(self) -> float:
        rate = self.rate()
        self.rates.append(rate)
        self.now += 0.05
        return rate

    def step(self, i: int) -> None:
        self.now += 3 / (0.6 * self.rate())  # 3 bytes


def test_a_bus_that_changes_leaves_the_share_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(beside, "time", machine)
    timed = beside.Beside(machine.probe, 3)
    assert timed.seconds(machine.step, 200) == pytest.approx(sum(3 / 0.6 / rate for rate in (100, 50)) * 100, rel=0.2)
    assert set(machine.rates) == {100, 50}
    assert len(machine.rates) > 50  # a slice is of three steps or two
    assert timed.shares == [pytest.approx(0.6)]
    timed.seconds(machine.step, 2)
    assert len(timed.shares) == 2
    assert beside.seconds(machine.step, 10) == pytest.approx(30 / 0.6 / 50)
