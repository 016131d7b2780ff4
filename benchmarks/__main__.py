"""Command line: `python -m benchmarks --quick` or `--full`."""

from __future__ import annotations

import argparse
import fcntl
import os
import resource
import shutil
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measures import MEASURES, Measure
from benchmarks.peers_table import PEERS, Peer
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.report import cpu_rows, rows, table, targets_table, write_json
from benchmarks.rounds import Samples, run
from benchmarks.server import GENERATOR_CORE, LOGS, SERVER_CORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

RESULTS = Path(__file__).resolve().parent / "results"
_DESCRIPTORS = 12000


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        """A comma-separated choice; `x*` selects all that begin with x."""
        chosen: list[str] = []
        for part in text.split(","):
            found = [name for name in known if name == part or (part.endswith("*") and name.startswith(part[:-1]))]
            if not found:
                raise argparse.ArgumentTypeError(f"{part!r} is none of {', '.join(known)}")
            chosen += [name for name in found if name not in chosen]
        return chosen

    return parse


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Side-by-side runs of WebSocket hubs.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="plan", action="store_const", const=QUICK, help="a first impression (default)")
    size.add_argument("--full", dest="plan", action="store_const", const=FULL, help="the numbers that count")
    parser.set_defaults(plan=QUICK)
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    parser.add_argument("--measures", type=_names(MEASURES), default=list(MEASURES), help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, help="rounds per measure")
    parser.add_argument("--attempts", type=int, default=3, help="how often a disturbed sample is measured at most")
    parser.add_argument("--name", help="file name of the results; default: the plan's")
    return parser.parse_args()


def _raise_descriptor_limit() -> None:
    """Ten thousand sockets on either side need more than most default limits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, _DESCRIPTORS)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        print(f"only {hard} descriptors allowed: `idle` and 3,000-socket measures may fail", file=sys.stderr)
        wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _pin_generator() -> None:
    cores = os.sched_getaffinity(0)
    if not {SERVER_CORE, GENERATOR_CORE} <= cores:
        sys.exit(f"needs core {SERVER_CORE} for the server and {GENERATOR_CORE} for the load; has {cores}")
    os.sched_setaffinity(0, {GENERATOR_CORE})


@contextmanager
def _alone() -> Iterator[None]:
    """One run at a time: two would share the cores, and the log files."""
    LOGS.mkdir(exist_ok=True)
    with (LOGS / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another run to end", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _available(names: list[str]) -> list[Peer]:
    available = []
    for peer in (PEERS[name] for name in names):
        if reason := peer.missing():
            print(f"skipping {peer.name}: {reason}", file=sys.stderr)
        else:
            available.append(peer)
    return available


def _possible(names: list[str]) -> list[Measure]:
    possible = []
    for measure in (MEASURES[name] for name in names):
        if measure.nodes is not None and shutil.which("redis-server") is None:
            print(f"skipping {measure.name}: redis-server is not installed", file=sys.stderr)
        else:
            possible.append(measure)
    return possible


def _keep(samples: Samples, plan: Plan, rounds: int, name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", samples, plan, rounds)
    if find_spec("matplotlib") is None:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    from benchmarks.plot import write_plot  # slow to import, and not needed while measuring

    write_plot(RESULTS / f"{name}.svg", samples)


def main() -> int:
    """Run, print and write the results. The exit status is 1 if a peer failed a measure."""
    arguments = _arguments()
    rounds = arguments.rounds or arguments.plan.rounds
    _raise_descriptor_limit()
    _pin_generator()
    peers = _available(arguments.peers)
    with _alone():
        samples = run(_possible(arguments.measures), peers, arguments.plan, rounds=rounds, attempts=arguments.attempts)
    if samples.numbers:
        names = [peer.name for peer in peers]
        print(f"\n{table(rows(samples), names)}")
        print(f"\nRates per second of the server's CPU time:\n\n{table(cpu_rows(samples), names)}")
        print(f"\n{targets_table(samples)}")
        if disturbed := samples.disturbed():
            print(f"{disturbed} samples were disturbed by other processes; better run this on a quieter machine\n")
        _keep(samples, arguments.plan, rounds, arguments.name or arguments.plan.name)
    for failure in samples.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if samples.failures else 0


if __name__ == "__main__":
    sys.exit(main())
