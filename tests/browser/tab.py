"""A browser tab with the chat in it, driven by roles and labels, as a user sees it, not by ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Locator, Page, WebSocket, expect

from tests.browser.console import collect_complaints
from tests.harness.polling import poll

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Tab"]

# What Chromium itself prints if the server cannot be reached or refuses a request.
NETWORK_TROUBLE = ("WebSocket connection to", "Failed to load resource")


class Tab:
    """One page.

    Attributes:
        complaints: the errors and warnings in its JavaScript console.
        names: what its user tried to log in as.
        sockets: every socket that it opened.
        received, sent: every message, of all sockets.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints = collect_complaints(page)
        self.names: set[str] = set()
        self.sockets: list[WebSocket] = []
        self.received: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        page.on("websocket", self._on_websocket)

    def _on_websocket(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framereceived", lambda frame: self.received.append(json.loads(frame)))
        socket.on("framesent", lambda frame: self.sent.append(json.loads(frame)))

    def forgive_network_trouble(self) -> None:
        """Drop the complaints that a lost server or a refusal over HTTP causes."""
        self.complaints[:] = [text for text in self.complaints if not text.startswith(NETWORK_TROUBLE)]

    def wait_until(self, condition: Callable[[], object], *, timeout: float = 10) -> None:
        """Wait until a condition on what was sent and received holds; messages arrive only while Playwright runs."""

        def probe() -> object:
            self.page.wait_for_timeout(20)
            return condition()

        poll(probe, timeout=timeout)

    def sent_of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all messages of a type that it sent."""
        return [message["data"] for message in self.sent if message["type"] == kind]

    @property
    def connection_id(self) -> str:
        """The id of its last connection."""
        hellos = [message["data"] for message in self.received if message["type"] == "hello"]
        return str(hellos[-1]["connection_id"])

    # What its user does

    def log_in(self, name: str) -> None:
        self.names.add(name)
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_role("button", name="Enter").click()

    def say(self, text: str) -> None:
        self.composer.fill(text)
        self.page.get_by_role("button", name="Send").click()

    def open_room(self, room: str) -> None:
        self.page.get_by_label("Name of a room to open").fill(room)
        self.page.get_by_role("button", name="Open", exact=True).click()

    # What its user sees

    @property
    def state(self) -> Locator:
        return self.page.get_by_role("status")

    @property
    def notice(self) -> Locator:
        return self.page.locator("#notice, #login-error").and_(self.page.get_by_role("alert"))

    @property
    def try_now(self) -> Locator:
        return self.page.get_by_role("button", name="Try now")

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message to")

    @property
    def log(self) -> Locator:
        """The messages of the room that is open."""
        return self.page.get_by_role("log")

    @property
    def messages(self) -> Locator:
        """The messages that were sent."""
        return self.log.locator(".message:not(.pending) .text")

    @property
    def unsent(self) -> Locator:
        return self.log.locator(".message.pending .text")

    @property
    def people(self) -> Locator:
        return self.page.get_by_role("region", name="Online").get_by_role("listitem").locator(".name")

    def room(self, name: str) -> Locator:
        return self.page.get_by_role("navigation", name="Rooms").get_by_role("button", name=name)

    def expect_in_room(self, room: str) -> None:
        expect(self.page.get_by_role("heading", name=room, exact=True)).to_be_visible()
        expect(self.state).to_have_text("Connected")
