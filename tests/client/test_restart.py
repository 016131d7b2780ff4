"""Two hundred clients reconnect after a restart of their server."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pytest

from tests.client.driving import read_lines
from tests.client.serving import serve
from tests.harness.http import get
from tests.harness.node import NODE, node_environment
from tests.harness.polling import poll
from tests.harness.ports import reusable_port

FLEET = Path(__file__).parent / "scripts" / "fleet.mjs"

CLIENTS = 200
NOTES = 20
"""Messages each client sends during the restart; well within the queue's 100."""

LONGEST_DELAY = 4.0
RESTART_JITTER = 2.0
HANDSHAKES = 3.0
"""Seconds that all handshakes may take on a busy machine, subscriptions included."""

WINDOW = 0.2
LARGEST_SHARE = 0.25
"""Of all clients, in one window. If they spread evenly over the jitter it is a tenth."""

LARGEST_SHARE_OF_RETRIES = 0.4
"""The same for clients that came too early: their second delay is at most a second, so evenly it is a fifth."""


def wait_for(output: IO[str], event: str, timeout: float) -> list[Any]:
    return poll(
        lambda: read_lines(output),
        until=lambda lines: any(line.get("event") == event for line in lines),
        timeout=timeout,
        what=event,
    )


def largest_share(moments: list[float]) -> float:
    """The largest part of them within any one `WINDOW`."""
    most = max(sum(1 for other in moments if 0 <= other - moment < WINDOW) for moment in moments)
    return most / len(moments)


@pytest.mark.wall_time
def test_all_reconnect_spread_out_with_their_topics_and_nothing_lost() -> None:
    port = reusable_port()
    arguments = {
        "url": f"ws://127.0.0.1:{port}/ws",
        "clients": CLIENTS,
        "notes": NOTES,
        "backoff": {"max": LONGEST_DELAY * 1000, "restart": RESTART_JITTER * 1000},
    }
    with TemporaryFile("w+") as output:
        with serve(port):
            fleet = subprocess.Popen([NODE, FLEET, json.dumps(arguments)], stdout=output, env=node_environment())
            wait_for(output, "ready", 20)
        try:
            with serve(port) as server:
                listening = time.time()
                lines = wait_for(output, "done", 30)
                arrived = get(server, "/notes").json()
            assert fleet.wait(10) == 0
        finally:
            fleet.kill()
            fleet.wait()

    assert [line for line in lines if "failure" in line] == []
    lives = [line for line in lines if line.get("event") == "life"]
    assert len(lives) == CLIENTS

    # Reconnected within the bound of the backoff
    assert {life["outages"][0]["code"] for life in lives} == {1012}
    for life in lives:
        *_, last = life["outages"]
        longest = max(RESTART_JITTER, min(LONGEST_DELAY, 0.5 * 2 ** (last["attempt"] - 1)))
        assert last["delay"] / 1000 <= longest
        assert life["back"] / 1000 - max(listening, last["at"] / 1000) <= longest + HANDSHAKES

    # Spread out
    delays = [(life["tries"][0] - life["outages"][0]["at"]) / 1000 for life in lives]
    assert largest_share(delays) <= LARGEST_SHARE
    assert largest_share([life["tries"][-1] / 1000 for life in lives]) <= LARGEST_SHARE_OF_RETRIES
    assert max(delays) - min(delays) >= RESTART_JITTER / 2

    # With their topics, and with nothing lost or duplicated
    assert [life["topics"] for life in lives] == [[f"topic{life['number'] % 10}"] for life in lives]
    assert [life["heard"] for life in lives] == [1] * CLIENTS
    assert sum(life["refused"] for life in lives) == 0
    assert arrived == {f"{life['number']}:{note}": 1 for life in lives for note in range(NOTES)}
