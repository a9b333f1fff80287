"""A browser, and pages opened in it from the disk, with the network shut off."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
AXE = Path(__file__).parents[2] / "page" / "node_modules" / "axe-core" / "axe.min.js"
QUIET = """
    --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
    --disable-sync
""".split()


@pytest.fixture(scope="module")
def browser():
    """A Chromium of the system. Where there is none, its tests are left out, but where BROWSER_REQUIRED is set."""
    path = os.environ.get("BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None or not Path(path).exists():
        told = "There is no Chromium to open pages with: apt-get install chromium, or name one by BROWSER."
        pytest.fail(told) if os.environ.get("BROWSER_REQUIRED") else pytest.skip(told)
    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=path, args=QUIET) as opened:
            yield opened


class Opened:
    """A page with what it logged; `belief` and the like read what is drawn."""

    def __init__(self, tab):
        self.tab, self.logged, self.asked = tab, [], []
        tab.set_default_timeout(300_000)  # however busy the machine is
        tab.on("console", lambda message: self.logged.append(message.text))
        tab.on("pageerror", lambda error: self.logged.append(str(error)))
        tab.on("request", lambda request: self.asked.append(request.url))

    def go(self, place):
        self.tab.goto(place)
        self.tab.wait_for_selector("#page[data-opened]")
        return self

    def settle(self):
        """Waits until what was chosen is drawn, rows out of sight as well."""
        self.tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 200)))")
        return self

    def rows(self, name):
        return [float(value) for value in self.tab.eval_on_selector_all(
            "tr[data-mean]", "(rows, name) => rows.map((row) => row.dataset[name])", name)]  # fmt: skip

    @property
    def mean(self):
        return self.settle().rows("mean")

    @property
    def variance(self):
        return self.settle().rows("variance")

    def marks(self, name):
        """Which marks of a kind are on the map: those its path draws, in the order of what they mark."""
        path = self.settle().tab.locator(f".map .{name}")
        shown = [int(place) for place in path.get_attribute("data-shown").split(",") if place]
        assert path.get_attribute("d").count("M") == len(shown)
        return shown

    @property
    def verdict(self):
        return self.settle().tab.inner_text(".verdict")

    @property
    def faults(self):
        return self.tab.inner_text(".fault >> nth=0")

    def agent(self, number):
        """The button of an agent, counted from 0."""
        return self.tab.locator(f'[data-agent="{number}"]')

    def hindrances(self):
        """What axe finds that seriously hinders people, and where."""
        self.settle().tab.evaluate(AXE.read_text() + "; 0")
        found = self.tab.evaluate("axe.run().then((found) => found.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        return [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in serious]

    @property
    def address(self):
        self.settle()
        return self.tab.evaluate("location.hash")


@pytest.fixture
def opening(browser):
    """A function that opens a page; after it nothing may have been logged, and nothing asked for but the file."""

    @contextmanager
    def opening(path, address="", *, width=1280, height=800, scheme="light"):
        with browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
        ) as context:
            page = Opened(context.new_page())
            yield page.go(f"file://{path}{address}")
            assert page.logged == []
            assert {url.split("#")[0] for url in page.asked} == {f"file://{path}"}

    return opening


@pytest.fixture
def watching(browser):
    """A function that opens a page that is served; nothing but its server may be asked, and nothing logged."""

    @contextmanager
    def watching(served, address="", *, width=1280, height=800, scheme="light", quiet=True):
        with browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme) as context:
            page = Opened(context.new_page())
            yield page.go(served + address)
            assert page.logged == [] or not quiet
            origin = served.partition("/?")[0]
            assert {url.partition("?")[0] for url in page.asked} == {f"{origin}/", f"{origin}/stream"}

    return watching
