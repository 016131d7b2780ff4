"""The operator's page, driven by roles and labels."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.browser.console import collect_complaints

__all__ = ["OperatorPage"]


class OperatorPage:
    """One page.

    Attributes:
        complaints: the errors and warnings in its JavaScript console.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints = collect_complaints(page)

    def log_in(self, key: str) -> None:
        self.page.get_by_label("Operator key").fill(key)
        self.page.get_by_role("button", name="Enter").click()

    def announce(self, text: str) -> None:
        self.page.get_by_label("Announcement to everybody").fill(text)
        self.page.get_by_role("button", name="Announce").click()

    def disconnect(self, name: str) -> None:
        self.page.get_by_role("button", name=f"Disconnect {name}").click()

    def revoke(self, name: str) -> None:
        self.page.get_by_role("button", name=f"Revoke login {name}").click()
        self.dialog.get_by_role("button", name="Revoke login").click()

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def people(self) -> Locator:
        return self.page.get_by_role("region", name="Online").get_by_role("listitem").locator(".name")

    @property
    def rooms(self) -> Locator:
        return self.page.get_by_role("region", name="Rooms").get_by_role("listitem")

    def expect_result(self, text: str) -> None:
        expect(self.page.get_by_role("status").last).to_contain_text(text)
