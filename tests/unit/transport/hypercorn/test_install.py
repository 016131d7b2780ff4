"""When the native transport takes hypercorn's connections over, when it does not, and that this is logged."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import hypercorn.trio.run
import pytest
from hypercorn.trio.tcp_server import TCPServer

from quart_wshub import WebSocketHub
from quart_wshub.transport.hypercorn import direct
from quart_wshub.transport.hypercorn import install as native
from quart_wshub.transport.hypercorn.install import install
from quart_wshub.transport.hypercorn.server import HubTCPServer
from tests.unit.memory import forever, make_app

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def hypercorns_own(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Before the test nothing is installed or logged, and after it what was before."""
    monkeypatch.setattr(hypercorn.trio.run, "TCPServer", TCPServer)
    monkeypatch.setattr(direct, "_hubs", WeakSet())
    caplog.set_level(logging.INFO, "quart_wshub")
    native._serves_natively.cache_clear()
    yield
    native._serves_natively.cache_clear()


class Paths:
    def serves(self, path: str) -> bool:
        return True


def in_use() -> Any:
    return vars(hypercorn.trio.run)["TCPServer"]


def pretend(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(native, "version", lambda name: version)


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_installing_replaces_one_name_and_logs_it_once(caplog: pytest.LogCaptureFixture) -> None:
    paths = Paths()
    assert install("auto", paths)
    assert install("auto", paths)
    assert in_use() is HubTCPServer
    assert list(direct._hubs) == [paths]
    assert messages(caplog) == [("INFO", "WebSocket transport: native, on hypercorn 0.18.0")]


@pytest.mark.parametrize("version", ["0.17.3", "0.19.0", "1.0", "0.180.0"])
def test_an_untested_hypercorn_is_left_alone_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    pretend(monkeypatch, version)
    assert not install("auto", Paths())
    assert not install("auto", Paths())
    assert in_use() is TCPServer
    assert list(direct._hubs) == []
    ((level, text),) = messages(caplog)
    assert level == "WARNING"
    assert f"plain ASGI, because the native transport was not tested with hypercorn {version}, but with 0.18.x" in text
    assert "stops reading" in text
    assert "WS_TRANSPORT=asgi" in text


@pytest.mark.parametrize("version", ["0.18.0", "0.18.1", "0.18.12"])
def test_every_patch_release_of_a_tested_one_will_do(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, version)
    assert install("auto", Paths())


def test_windows_is_left_alone_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not install("auto", Paths())
    assert in_use() is TCPServer
    ((level, text),) = messages(caplog)
    assert level == "WARNING"
    assert "because the native transport reads and writes sockets as files, which Windows cannot" in text


def test_registering_a_blueprint_installs(caplog: pytest.LogCaptureFixture) -> None:
    apps = [make_app(forever, WebSocketHub()), make_app(forever, WebSocketHub())]
    assert in_use() is HubTCPServer
    assert len(direct._hubs) == len(apps)
    assert len(messages(caplog)) == 1


def test_registering_a_blueprint_that_wants_plain_asgi_does_not_and_logs_what_that_means(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_app(forever, WebSocketHub(), WS_TRANSPORT="asgi")
    make_app(forever, WebSocketHub(), WS_TRANSPORT="asgi")
    assert in_use() is TCPServer
    ((level, text),) = messages(caplog)
    assert level == "INFO"
    assert "plain ASGI, because WS_TRANSPORT=asgi. A peer that stops reading keeps" in text


def test_registering_on_an_untested_hypercorn_warns_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, "9.9")
    make_app(forever, WebSocketHub())
    assert in_use() is TCPServer
    assert [level for level, _ in messages(caplog)] == ["WARNING"]
