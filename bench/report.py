"""Report of the measurements: ratios first, then medians with their ranges."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from statistics import median

from bench.measure import Result

FULL = 0.9  # above this, the load may be what is measured
NOISE = 0.1  # of a core

Key = tuple[str, str]  # case and contestant


@dataclass
class Unit:
    """Unit of the numbers in a table."""

    title: str
    value: Callable[[Result], float]
    counted: str = ""  # the count that divides the server's CPU time
    decimals: int = 0

    def show(self, value: float) -> str:
        return f"{value:,.{self.decimals}f}"


@dataclass
class Ratio:
    """Ours against the best of others, with the required ratio: at least, or at most if less is better."""

    label: str
    ours: Key
    others: list[Key]
    limit: float | None = None
    at_most: bool = False


class Table:
    """Results of all rounds."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.results: dict[Key, list[Result]] = defaultdict(list)
        self.failures: dict[Key, str] = {}

    def values(self, key: Key, unit: Unit | None = None) -> list[float]:
        """Return one number per round, none if a round failed."""
        return (
            [] if key in self.failures else [(unit or self.unit).value(result) for result in self.results.get(key, [])]
        )

    def print_ratio(self, ratio: Ratio, unit: Unit | None = None) -> None:
        """Print the median and the range of the rounds' ratios. Rounds drift less in themselves than apart."""
        pick = min if ratio.at_most else max
        ours = self.values(ratio.ours, unit)
        others = [values for key in ratio.others if (values := self.values(key, unit))]
        if not ours or not others:
            print(f"       -                                      {ratio.label}")
            return
        rounds = [mine / theirs if theirs else inf for mine, theirs in zip(ours, pick(others, key=median), strict=True)]
        wanted = ""
        if ratio.limit:
            reached = median(rounds) <= ratio.limit if ratio.at_most else median(rounds) >= ratio.limit
            wanted = f"{'reached' if reached else 'MISSED'}: {'at most' if ratio.at_most else 'at least'} {ratio.limit}"
        spread = f"({min(rounds):.2f} to {max(rounds):.2f})"
        print(f"  {median(rounds):6.2f}x {spread:18} {self.cpu_ratio(ratio):18} {ratio.label:60} {wanted}".rstrip())

    def cpu_ratio(self, ratio: Ratio) -> str:
        """Return the ratio in CPU time of the server, which other programs change less than the rate."""
        if not self.unit.counted or ratio.at_most:
            return ""
        others = min(self.micros(key) for key in ratio.others if self.values(key))
        return f"by CPU {others / self.micros(ratio.ours):6.2f}x"

    def micros(self, key: Key) -> float:
        """Return the server's CPU time per counted event in microseconds."""
        return median(result.server_micros(self.unit.counted) for result in self.results[key])

    def print_rows(self, units: list[Unit] | None = None) -> None:
        """Print the medians, case by case."""
        units = units or [self.unit]
        seen = [*self.results, *(key for key in self.failures if key not in self.results)]
        for case in dict.fromkeys(case for case, _ in seen):
            heads = "".join(f"{unit.title:>32}" for unit in units)
            if self.unit.counted:
                heads += f"{'µs of server':>16}{'server core':>14}{'load core':>12}"
            print(f"\n  {case:30}{heads}")
            for key in (key for key in seen if key[0] == case):
                print(f"  {key[1]:30}{self.row(key, units)}")

        others = [result.others_share for results in self.results.values() for result in results]
        if others and max(others) > NOISE:
            print(f"\n  Other programs used {median(others):.0%} of a core meanwhile (up to {max(others):.0%}).")

    def row(self, key: Key, units: list[Unit]) -> str:
        if key in self.failures:
            return f"  failed: {self.failures[key]}"
        cells = "".join(f"{spread(self.values(key, unit), unit):>32}" for unit in units)
        results = self.results[key]
        if not self.unit.counted:
            return cells
        server = median(result.server_share for result in results)
        load = median(result.load_share for result in results)
        return f"{cells}{self.micros(key):16.1f}{server:14.0%}{load:12.0%}{' !' if load > FULL else ''}"


def spread(values: list[float], unit: Unit) -> str:
    return f"{unit.show(median(values))} ({unit.show(min(values))} to {unit.show(max(values))})"
