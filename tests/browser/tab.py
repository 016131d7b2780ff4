"""A browser tab with the chat in it, driven the way its user would: by roles and labels, not by ids."""

from __future__ import annotations

from playwright.sync_api import ConsoleMessage, Locator, Page, WebSocket, expect

__all__ = ["Tab"]

# What Chromium itself prints while the server is away.
NETWORK_TROUBLE = ("WebSocket connection to", "Failed to load resource")


class Tab:
    """One page.

    Attributes:
        complaints: whatever its JavaScript console calls an error or a warning.
        names: what its user tried to log in as.
        received: every message the server sent to it.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.names: set[str] = set()
        self.received: list[str] = []
        page.on("websocket", self._on_websocket)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("console", self._on_console)

    def _on_websocket(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self.received.append(str(frame)))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def forgive_network_trouble(self) -> None:
        """Drop the complaints that a server going away, or a refusal over HTTP, brings with it."""
        self.complaints = [text for text in self.complaints if not text.startswith(NETWORK_TROUBLE)]

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
        return self.page.get_by_role("alert")

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message to")

    @property
    def log(self) -> Locator:
        """The messages of the room that is open."""
        return self.page.get_by_role("log")

    @property
    def messages(self) -> Locator:
        return self.log.locator(".message .text")

    @property
    def people(self) -> Locator:
        return self.page.get_by_role("region", name="Online").get_by_role("listitem").locator(".name")

    def room(self, name: str) -> Locator:
        return self.page.get_by_role("navigation", name="Rooms").get_by_role("button", name=name)

    def expect_in_room(self, room: str) -> None:
        expect(self.page.get_by_role("heading", name=room, exact=True)).to_be_visible()
        expect(self.state).to_have_text("Connected")
