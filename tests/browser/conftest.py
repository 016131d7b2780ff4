"""Chromium, the chat example that it opens, and tabs whose consoles must show no error.

Playwright is only the driver: the browser is the system's, and nothing is downloaded. The tests are plain functions,
because Playwright's synchronous interface runs an event loop of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.chat_server import serve_chat
from tests.browser.operator_page import OperatorPage
from tests.browser.tab import Tab
from tests.harness.polling import poll
from tests.harness.ports import reusable_port

if TYPE_CHECKING:
    from tests.harness.server import Server

OPERATOR_KEY = "operator-key-of-the-tests"

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

OpenTab = Callable[..., Tab]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("these tests need Chromium: apt install chromium", pytrace=False)
    expect.set_options(timeout=10_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shared_chat_server() -> Iterator[Server]:
    with serve_chat({"CHAT_OPERATOR_KEY": OPERATOR_KEY}, port=reusable_port()) as server:
        yield server


@pytest.fixture
def chat_environment() -> dict[str, str] | None:
    """A test that parametrizes this with an environment gets a server of its own."""
    return None


@pytest.fixture
def chat_server(request: pytest.FixtureRequest, chat_environment: dict[str, str] | None) -> Iterator[Server]:
    if chat_environment is None:
        yield request.getfixturevalue("shared_chat_server")
    else:
        with serve_chat(chat_environment, port=reusable_port()) as server:
            yield server


@pytest.fixture
def open_tab(browser: Browser, chat_server: Server) -> Iterator[OpenTab]:
    """Open the chat in a tab with its own storage, as another person would; options go to its browser context."""
    tabs: list[Tab] = []

    def open_tab(name: str | None = None, **options: Any) -> Tab:
        context = browser.new_context(**options)
        tab = Tab(context.new_page())
        tabs.append(tab)
        tab.page.goto(chat_server.url())
        if name is not None:
            tab.log_in(name)
            tab.expect_in_room("lobby")
        return tab

    yield open_tab
    for tab in tabs:
        tab.page.context.close()
    if chat_server.returncode is None:
        poll(lambda: _online(chat_server, tabs), until=lambda names: not names, what="everybody is gone")
    assert [tab.complaints for tab in tabs if tab.complaints] == []


@pytest.fixture
def operator(browser: Browser, chat_server: Server) -> Iterator[OperatorPage]:
    """The operator's page, logged in."""
    context = browser.new_context()
    page = OperatorPage(context.new_page())
    page.page.goto(chat_server.url("/operator"))
    page.log_in(OPERATOR_KEY)
    yield page
    context.close()
    assert page.complaints == []


def _online(server: Server, tabs: list[Tab]) -> list[str]:
    """The names of the tabs' users that are still online."""
    names = {name for tab in tabs for name in tab.names}
    return [name for name in names if httpx.post(server.url("/login"), json={"name": name}).status_code == 409]
