"""A server that cannot work says why at start, once; one that is told to stop does.

Hypercorn's exit status is not checked: its master exits with 0 even if its worker failed (`hypercorn/run.py`).
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import pytest

from tests.harness.clients import closed_with, connect, subscribe
from tests.harness.raw import raw_client, upgrade
from tests.harness.server import MAIN_APP, Kind, run_server, run_to_exit


@pytest.mark.parametrize("kind", ["asyncio", "uvicorn"])
def test_a_server_without_trio_fails_at_start_and_says_what_to_run_instead(kind: Kind) -> None:
    status, log = run_to_exit(MAIN_APP, kind=kind)
    assert status != 0 or kind == "asyncio"
    assert log.count("quart-wshub runs on Trio, and this server does not") == 1
    assert "hypercorn -k trio module:app" in log


def test_a_plain_quart_app_is_refused_at_registration() -> None:
    _, log = run_to_exit("tests.server.apps.plain_quart:app")
    assert "ConfigurationError: quart-wshub needs a QuartTrio app, and this is a Quart" in log
    assert "use quart_trio.QuartTrio(__name__)" in log


@pytest.mark.parametrize(
    ("name", "value"), [("WS_HEARTBEAT_TIMEOUT_SECONDS", "30"), ("WS_MAX_CONNECTIONS_PER_USER", "none")]
)
def test_a_bad_setting_fails_at_start_and_is_named(name: str, value: str) -> None:
    _, log = run_to_exit(MAIN_APP, env={name: value})
    assert "validation error" in log
    assert name in log
    assert value in log


@pytest.mark.wall_time
@pytest.mark.both_transports
class TestSigterm:
    GRACE = ("--graceful-timeout", "1")

    def test_ends_in_bounded_time_and_closes_every_client_with_1012(self, transport: str) -> None:
        with run_server(args=self.GRACE, env={"WS_TRANSPORT": transport}) as server, ExitStack() as stack:
            paths = ["/echo", "/ws", "/deaf", "/record"]
            clients = [
                stack.enter_context(connect(server, path, token=f"{path[1:]}{number}", key="sigterm"))
                for path in paths
                for number in range(5)
            ]
            subscribe(clients[5], "news")
            start = time.monotonic()
            assert server.stop(signal.SIGTERM, timeout=5) == 0
            assert time.monotonic() - start < 4
            assert {closed_with(client)[0] for client in clients} == {1012}
            assert "Traceback" not in server.log()

    def test_is_not_delayed_by_peers_in_any_state(self, transport: str) -> None:
        env = {"WS_CLOSE_TIMEOUT_SECONDS": "1", "WS_TRANSPORT": transport}
        with run_server(args=self.GRACE, env=env) as server, ExitStack() as stack:
            silent, half, resolving, mute, closing = (stack.enter_context(raw_client(server)) for _ in range(5))
            half.send(b"GET /echo?token=alice HTTP/1.1\r\nHost: x\r\n")
            resolving.send(upgrade("/echo?token=slow"))
            mute.open("/echo?token=alice")
            mute.read_frame()
            closing.open("/leave?token=alice")
            closing.read_close()
            assert server.stop(signal.SIGTERM, timeout=5) == 0
            assert silent.read_to_end()


def test_sigint_does_the_same() -> None:
    with run_server(args=TestSigterm.GRACE) as server, connect(server) as client:
        assert server.stop(signal.SIGINT, timeout=5) == 0
        assert closed_with(client)[0] == 1012
