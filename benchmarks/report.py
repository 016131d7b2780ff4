"""The table that is printed, and the JSON file of a run."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.measures import MEASURES, Measure
from benchmarks.peers_table import NODE, PEERS
from benchmarks.targets import PROJECT, times_better, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.measures.base import Metric
    from benchmarks.plan import Plan
    from benchmarks.rounds import Samples

_PACKAGES = (
    "hypercorn", "quart", "quart-trio", "trio", "pydantic", "PyJWT", "tempest-fastapi-sdk", "fastapi", "uvicorn",
    "uvloop", "websockets", "picows", "coredis", "python-socketio", "channels", "channels_redis", "daphne", "redis",
)  # fmt: skip


Row = tuple["Measure", "Metric", dict[str, float]]


def _measured(samples: Samples) -> Iterator[tuple[Measure, Metric, list[str]]]:
    for measure in MEASURES.values():
        by_peer = samples.numbers.get(measure.name, {})
        for metric in measure.metrics if by_peer else ():
            yield measure, metric, list(by_peer)


def rows(samples: Samples) -> Iterator[Row]:
    """Every metric that was measured, with the median of each peer."""
    for measure, metric, peers in _measured(samples):
        yield measure, metric, {peer: median(samples.values(measure.name, peer, metric.key)) for peer in peers}


def cpu_rows(samples: Samples) -> Iterator[Row]:
    """Every rate, with the median of each peer, per second of the server's own CPU time."""
    for measure, metric, peers in _measured(samples):
        if metric.is_rate:
            values = {peer: samples.values_per_cpu_second(measure.name, peer, metric.key) for peer in peers}
            yield measure, metric, {peer: median(value) for peer, value in values.items()}


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def _cell(metric: Metric, peer: str, medians: dict[str, float]) -> str:
    if peer not in medians:
        return "–"
    ours = medians.get(PROJECT)
    if ours is None or peer == PROJECT:
        return _number(medians[peer])
    return f"{_number(medians[peer])} ({times_better(metric, ours, medians[peer]):.2f} ×)"


def table(body: Iterable[Row], peers: list[str]) -> str:
    """A Markdown table of medians; in brackets how many times better this project is."""
    head = ["measure", "unit", *(PEERS[peer].title for peer in peers)]
    lines = [head, ["---", "---", *("---:" for _ in peers)]]
    for measure, metric, medians in body:
        lines.append([measure.name, metric.unit, *(_cell(metric, peer, medians) for peer in peers)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def targets_table(samples: Samples) -> str:
    """A Markdown table of the targets that could be judged; empty when this project was not measured."""
    lines = ["| measure | metric | must reach | reached | met |", "|---|---|---|---:|---|"]
    for verdict in verdicts(samples):
        target = verdict.target
        must = f"{target.factor:g} × {target.peer}" if target.peer else _number(target.factor)
        mark = "yes" if verdict.met else "NO"
        lines.append(f"| {target.measure} | {target.key} | {must} | {_number(verdict.reached)} | {mark} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _node_versions() -> dict[str, str]:
    manifest = NODE / "node_modules" / "ws" / "package.json"
    if not manifest.exists():
        return {}
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return {"node": node, "ws": json.loads(manifest.read_text())["version"]}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def environment() -> dict[str, Any]:
    """Where and with what was measured."""
    versions = {package: found for package in _PACKAGES if (found := _installed(package)) is not None}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": versions | _node_versions(),
    }


def _by_name(body: Iterable[Row]) -> dict[str, dict[str, float]]:
    return {f"{measure.name}/{metric.key}": medians for measure, metric, medians in body}


def document(samples: Samples, plan: Plan, rounds: int) -> dict[str, Any]:
    """Everything about a run, ready for JSON."""
    return {
        "environment": environment(),
        "plan": asdict(plan) | {"rounds": rounds},
        "medians": _by_name(rows(samples)),
        "medians_per_cpu_second": _by_name(cpu_rows(samples)),
        "targets": [asdict(verdict) for verdict in verdicts(samples)],
        "samples": samples.numbers,
        "failures": samples.failures,
    }


def write_json(path: Path, samples: Samples, plan: Plan, rounds: int) -> None:
    """Write `document` where later runs can be compared with it."""
    path.write_text(json.dumps(document(samples, plan, rounds), indent=1) + "\n")
