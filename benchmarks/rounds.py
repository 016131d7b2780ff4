"""The run: every round measures each peer once, so that a noisy minute affects all of them alike.

On a shared machine that is not enough. The scheduler reports how long server and generator waited for their cores; a
sample in which either waited too long is repeated, and the least disturbed attempt is kept, whatever its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.client import PeerError
from benchmarks.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measures import Measure
    from benchmarks.measures.base import Numbers
    from benchmarks.peers_table import Peer
    from benchmarks.plan import Plan

_DISTURBED = 0.1


@dataclass(slots=True)
class Samples:
    """All numbers by measure, peer and round, and the failures."""

    numbers: dict[str, dict[str, list[Numbers]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, measure: str, peer: str, numbers: Numbers) -> None:
        """Keep one round's numbers."""
        self.numbers.setdefault(measure, {}).setdefault(peer, []).append(numbers)

    def values(self, measure: str, peer: str, key: str) -> list[float]:
        """One metric's values over the rounds; empty if the peer was not measured."""
        return [numbers[key] for numbers in self.numbers.get(measure, {}).get(peer, [])]

    def values_per_cpu_second(self, measure: str, peer: str, key: str) -> list[float]:
        """A rate's values, per second of the server's own CPU time."""
        return [numbers[key] / numbers["server_cpu"] for numbers in self.numbers.get(measure, {}).get(peer, [])]

    def disturbed(self) -> int:
        """How many samples stayed disturbed in spite of repeating them."""
        samples = [numbers for peers in self.numbers.values() for rounds in peers.values() for numbers in rounds]
        return sum(disturbance(numbers) > _DISTURBED for numbers in samples)


def disturbance(numbers: Numbers) -> float:
    """The larger share of the time in which server or generator waited for a core; 0 if that was not watched.

    If they share all cores: the share of the machine that other processes used.
    """
    return max(numbers.get(key, 0.0) for key in ("server_waited", "generator_waited", "others_cpu"))


def run(measures: list[Measure], peers: list[Peer], plan: Plan, *, rounds: int, attempts: int) -> Samples:
    """All rounds of all measures. A peer that fails a measure is reported, and the others go on."""
    samples = Samples()
    for measure in measures:
        for number in range(1, rounds + 1):
            for peer in _able(peers, measure):
                _sample(samples, measure, peer, plan, number, attempts)
    return samples


def _able(peers: list[Peer], measure: Measure) -> Iterator[Peer]:
    return (peer for peer in peers if peer.takes_part(measure.kind, nodes=measure.nodes is not None))


def _sample(samples: Samples, measure: Measure, peer: Peer, plan: Plan, number: int, attempts: int) -> None:
    where = f"{measure.name} {peer.name} round {number}"
    try:
        numbers = _least_disturbed(measure, peer, plan, number, attempts)
    except (PeerError, OSError) as error:
        samples.failures.append(f"{where}: {error}")
        print(f"{where}: FAILED: {error}", flush=True)
    else:
        samples.add(measure.name, peer.name, numbers)
        print(f"{where}: {_shown(measure, numbers)}", flush=True)


def _least_disturbed(measure: Measure, peer: Peer, plan: Plan, number: int, attempts: int) -> Numbers:
    taken: list[Numbers] = []
    while len(taken) < attempts:
        taken.append(_measure_once(measure, peer, plan, number))
        if disturbance(taken[-1]) <= _DISTURBED:
            break
    return min(taken, key=disturbance)


def _measure_once(measure: Measure, peer: Peer, plan: Plan, number: int) -> Numbers:
    label = f"{measure.name}-{peer.name}-{number}"
    with Server(peer, label, heartbeat_seconds=measure.heartbeat_seconds(plan), nodes=measure.nodes) as server:
        return measure.run(server, plan)


def _shown(measure: Measure, numbers: Numbers) -> str:
    shown = ", ".join(f"{numbers[metric.key]:,.4g} {metric.unit}" for metric in measure.metrics)
    waited = disturbance(numbers)
    return f"{shown} (DISTURBED: {waited:.0%} of the time)" if waited > _DISTURBED else shown
