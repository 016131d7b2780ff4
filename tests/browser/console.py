"""What a page prints to its JavaScript console as an error or a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

__all__ = ["collect_complaints"]


def collect_complaints(page: Page) -> list[str]:
    """A list to which the page's errors and warnings are added."""
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    page.on("console", on_console)
    return complaints
