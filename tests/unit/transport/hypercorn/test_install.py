"""When the native transport takes hypercorn's connections over, and when it does not."""

from __future__ import annotations

import logging
from typing import Any

import hypercorn.trio.run
import pytest
from hypercorn.trio.tcp_server import TCPServer

from quart_wshub import WebSocketHub
from quart_wshub.transport.hypercorn import install as native
from quart_wshub.transport.hypercorn.install import install
from quart_wshub.transport.hypercorn.server import HubTCPServer
from tests.unit.memory import forever, make_app


@pytest.fixture(autouse=True)
def hypercorns_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the test nothing is installed, and after it what was before."""
    monkeypatch.setattr(hypercorn.trio.run, "TCPServer", TCPServer)
    return


def in_use() -> Any:
    return vars(hypercorn.trio.run)["TCPServer"]


def pretend(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(native, "version", lambda name: version)


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_installing_replaces_one_name_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quart_wshub")
    assert install()
    assert install()
    assert in_use() is HubTCPServer
    assert [text for _, text in messages(caplog)] == ["the native transport serves the connections of hypercorn 0.18.0"]


@pytest.mark.parametrize("version", ["0.17.3", "0.19.0", "1.0", "0.180.0"])
def test_an_untested_hypercorn_is_left_alone_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    pretend(monkeypatch, version)
    assert not install()
    assert in_use() is TCPServer
    ((level, text),) = messages(caplog)
    assert level == "WARNING"
    assert f"hypercorn {version} is not among the versions" in text
    assert "0.18.x" in text
    assert "WS_TRANSPORT=asgi" in text


@pytest.mark.parametrize("version", ["0.18.0", "0.18.1", "0.18.12"])
def test_every_patch_release_of_a_tested_one_will_do(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, version)
    assert install()


def test_registering_a_blueprint_installs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quart_wshub")
    make_app(forever, WebSocketHub())
    make_app(forever, WebSocketHub())
    assert in_use() is HubTCPServer
    assert len(messages(caplog)) == 1


def test_registering_a_blueprint_that_wants_plain_asgi_does_not() -> None:
    make_app(forever, WebSocketHub(), WS_TRANSPORT="asgi")
    assert in_use() is TCPServer


def test_registering_on_an_untested_hypercorn_warns_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, "9.9")
    make_app(forever, WebSocketHub())
    assert in_use() is TCPServer
    assert [level for level, _ in messages(caplog)] == ["WARNING"]
