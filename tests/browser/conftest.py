"""A real browser: Chromium from the system, driven by Playwright; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.worlds import STAFF, World

TIMEOUT_MS = 15_000


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests; each opens a context of its own."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(autouse=True)
def _orm_beside_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright keeps an event loop in this thread; Django takes it for one that we run on."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


@dataclass
class Desk:
    """A member of staff at a screen: pages of the world, and all that the browser complained of."""

    world: World
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a page of ours."""
        answer = self.page.goto(f"{self.world.base_url}{path}")
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"
        return self.page


@pytest.fixture
def desk_in(browser: Browser) -> Iterator[Callable[..., Desk]]:
    """Opens desks: `desk_in(world, width=390, theme="dark")`, signed in by the form."""
    opened: list[BrowserContext] = []

    def open_one(
        world: World, *, width: int = 1280, height: int = 900, theme: Any = "light"
    ) -> Desk:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme
        )
        opened.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        desk = Desk(world, context, context.new_page())
        desk.page.on("pageerror", lambda error: desk.complaints.append(str(error)))
        desk.page.on(
            "console",
            lambda message: (
                desk.complaints.append(message.text) if message.type == "error" else None
            ),
        )
        _sign_in(desk)
        return desk

    yield open_one
    for context in opened:
        context.close()


def _sign_in(desk: Desk) -> None:
    page = desk.open("/admin/login/")
    page.fill("[name=username]", STAFF[0])
    page.fill("[name=password]", STAFF[1])
    page.click("[type=submit]")
    page.wait_for_url("**/admin/")
