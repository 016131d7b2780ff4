"""The measures, by name, in the order in which they are run and shown."""

from __future__ import annotations

from benchmarks.measures.base import Measure
from benchmarks.measures.burst import BURST, BURST_HUB, BURST_TOPIC
from benchmarks.measures.echo import ECHO
from benchmarks.measures.fanout import FANOUTS, SINGLES
from benchmarks.measures.handshakes import HANDSHAKES
from benchmarks.measures.idle import IDLE, MEMORY
from benchmarks.measures.inbound import INBOUND
from benchmarks.measures.latency import LATENCY
from benchmarks.measures.nodes import THROUGHPUT, WORKERS

__all__ = ["MEASURES", "Measure"]

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        *(*FANOUTS, *SINGLES, INBOUND, ECHO, MEMORY, HANDSHAKES, IDLE, BURST_TOPIC, BURST, BURST_HUB),
        *(LATENCY, THROUGHPUT, *WORKERS),
    )
}
