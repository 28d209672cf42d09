"""Rounds of a benchmark with their contestants, durations and failures."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.contestants import Contestant
from bench.measure import Failed, Result, Server, measure
from bench.report import Table

Options = Callable[[Contestant], list[str]]


@dataclass
class Plan:
    """Number and duration of the rounds, and the failures."""

    rounds: int
    seconds: float
    warmup: float
    brief: bool = False
    failures: list[str] = field(default_factory=list)

    def people(self, count: int) -> int:
        """Return the number of connections: in a brief run a twentieth, but at least two."""
        return max(2, count // 20) if self.brief else count

    def at_least(self, seconds: float) -> float:
        """Return the seconds of a measurement that is meaningless if it is shorter."""
        return self.seconds if self.brief else max(seconds, self.seconds)

    def play(self, table: Table, players: list[Contestant], cases: dict[str, Options], how=None) -> None:
        """Measure every case with every contestant, one after the other, then all again."""
        for _ in range(self.rounds):
            for player in players:
                self.play_one(table, player, cases, how or self.measure)

    def play_one(self, table: Table, player: Contestant, cases: dict[str, Options], how) -> None:
        """Start a server and measure. Note a failure and go on: the run ends with an error."""
        case = ""
        try:
            with player.serve() as server:
                for case, options in cases.items():
                    table.results[case, player.name].append(how(server, [*player.join, *options(player)]))
        except (Failed, AssertionError) as error:
            for other in [case] if case else cases:
                table.failures[other, player.name] = str(error).splitlines()[0]
            self.failures.append(f"{player.name}, {case or 'at the start'}: {error}")

    def measure(self, server: Server, options: list[str]) -> Result:
        times = [
            "--seconds",
            str(self.seconds),
            "--warmup",
            str(self.warmup),
            *(["--settle", "0"] if self.brief else []),
        ]
        return measure(server, [*times, *options])
