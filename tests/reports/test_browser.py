"""The HTML reports in a real browser: layout, sorting, filtering, keyboard, light and dark, paper."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from origcli.reports import gallery
from origcli.reports.study_page import write_study_html
from tests.reports import samples, test_study_page

DESKTOP, PHONE = (1280, 900), (390, 844)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)


def _programs() -> tuple[str, str]:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    message = "needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Browser:
    """Chromium, and what the tests ask of it."""

    def __init__(self, profile: Path) -> None:
        browser, driver = _programs()
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = browser
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=Service(driver))

    def open(
        self, path: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light", address: str = ""
    ) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=size[0], height=size[1], deviceScaleFactor=1, mobile=size == PHONE,
        )  # fmt: skip
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        from selenium.webdriver.support.ui import WebDriverWait

        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + address)
        # On a busy machine the driver sometimes answers while the page is being read.
        WebDriverWait(self.driver, 60).until(
            lambda driver: (
                driver.execute_script("return location.href != 'about:blank' && document.readyState")
                == "complete"
            )
        )

    def command(self, name: str, **values: Any) -> dict[str, str]:
        return self.driver.execute_cdp_cmd(name, values)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def wait_for(self, script: str) -> None:
        """Returns once a script gives something true; fails after ten seconds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 10).until(lambda _: self.run(script), script)

    def press(self, key: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        ActionChains(self.driver).send_keys(getattr(Keys, key, key)).perform()

    def shown(self) -> list[dict[str, str]]:
        rows = self.run(
            "[...document.querySelectorAll('#table tbody tr:not([hidden])')].map(r => ({...r.dataset}))"
        )
        assert isinstance(rows, list)
        return rows

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.driver.quit()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("one")
    gallery.write_html(directory, samples.report(samples.result(directory)))
    return directory / "report.html"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("many")
    results = samples.many(directory, 500, drawings=1, test=False)
    report = samples.report(*results, failures=2, grouped=True)
    gallery.write_page(directory, results[0], report.provenance)
    gallery.write_html(directory, report)
    return directory / "report.html"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("pages", ["one", "many"])
def test_nothing_is_cut_off_and_nothing_complains(
    pages: str, size: tuple[int, int], browser: Browser, request: pytest.FixtureRequest
) -> None:
    browser.open(request.getfixturevalue(pages), size)
    assert browser.run("document.documentElement.scrollWidth") <= size[0]
    broken = "[...document.querySelectorAll('img[src]')].filter(i => !(i.complete && i.naturalWidth)).length"
    assert browser.run(broken) == 0
    assert (
        browser.run("[...document.querySelectorAll('svg.chart')].filter(s => s.checkVisibility()).length")
        == {
            "one": 1,  # that of the loss is folded away
            "many": 1,
        }[pages]
    )
    smallest = (
        "Math.min(...[...document.querySelectorAll('svg.chart text')].filter(t => t.checkVisibility())"
        ".map(t => t.getBoundingClientRect().height))"
    )
    assert browser.run(smallest) >= 11, "the charts' text stays legible"
    assert browser.complaints() == []


def test_the_verdict_of_a_row_is_shown_once_on_a_desktop_and_on_a_phone(browser: Browser, many: Path) -> None:
    for size in (DESKTOP, PHONE):
        browser.open(many, size)
        row = browser.find("#table tbody tr")
        assert row.text.count("redrawn") == 1
        heights = "[...document.querySelector('#table tbody tr').cells].filter(c => c.checkVisibility())"
        assert browser.run(f"new Set({heights}.map(c => c.getBoundingClientRect().height)).size") == 1


@pytest.mark.parametrize(("selector", "size"), [(".answers", (1280, 800)), (".shown", PHONE)])
def test_what_was_found_is_on_the_first_screen(
    selector: str, size: tuple[int, int], browser: Browser, one: Path
) -> None:
    browser.open(one, size)
    pictures = "document.querySelectorAll('.shown img').length"
    assert browser.run(pictures) == 4
    end = f"document.querySelector('{selector}').getBoundingClientRect().bottom"
    assert 0 < browser.run(end) <= size[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", test_study_page.STUDIES)
def test_the_page_of_a_study_fits_a_desktop_and_a_phone(
    name: str, scheme: str, browser: Browser, tmp_path: Path
) -> None:
    write_study_html(tmp_path, test_study_page.STUDIES[name](tmp_path))
    for size in (DESKTOP, PHONE):
        browser.open(tmp_path / "report.html", size, scheme)
        assert browser.run("document.documentElement.scrollWidth") <= size[0]
        assert browser.complaints() == []
    assert browser.driver.title != "run"


def test_text_stands_out_from_its_ground_in_light_and_dark(browser: Browser, one: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        browser.open(one, scheme=scheme)
        ground = _luminance(browser, "document.body", "backgroundColor")
        grounds.append(ground)
        for selector in ("h1", ".prose", ".note", "figcaption", ".ci", ".near", "footer", "svg.chart .tick"):
            property = "fill" if selector.startswith("svg") else "color"
            ink = _luminance(browser, f"document.querySelector('{selector}')", property)
            contrast = (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)
            assert contrast >= 4.5, f"{selector} in {scheme}: {contrast:.1f}"
    assert grounds[0] > 0.9 > 0.1 > grounds[1]


def _luminance(browser: Browser, element: str, property: str) -> float:
    """Relative luminance of a color (WCAG 2)."""
    color = str(browser.run(f"getComputedStyle({element}).{property}"))
    channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_column_of_samples_is_one_seed_in_every_row(browser: Browser, one: Path) -> None:
    browser.open(one)
    lefts = browser.run(
        "[...document.querySelectorAll('.row .tiles')].map(t => [...t.querySelectorAll('img')].slice(0, 10)"
        ".map(i => Math.round(i.getBoundingClientRect().left)))"
    )
    assert isinstance(lefts, list) and len(lefts) == 7
    assert len({tuple(row) for row in lefts}) == 1


def test_a_sample_opens_beside_the_image_and_keys_go_on(browser: Browser, one: Path) -> None:
    browser.open(one)
    browser.run("document.querySelectorAll('.tiles button')[20].focus()")
    browser.press("ENTER")
    assert browser.run("document.getElementById('zoom').open") is True
    caption = "document.querySelectorAll('#zoom figcaption')[1].textContent"
    assert str(browser.run(caption)).startswith("Sample with 1 token, seed number 1,")
    assert browser.run(
        "document.querySelector('#zoom img').src === document.querySelector('[data-query] img').src"
    )
    browser.press("ARROW_RIGHT")
    assert "seed number 2," in str(browser.run(caption))
    browser.press("ESCAPE")
    assert browser.run("document.getElementById('zoom').open") is False
    # A closed dialog says so a moment later, and focus moves then.
    browser.wait_for("document.activeElement.getAttribute('aria-label') === 'Enlarge: sample 2 with 1 token'")


def test_rows_sort_both_ways_with_unknown_numbers_last(browser: Browser, many: Path) -> None:
    browser.open(many)
    assert len(browser.shown()) == 500
    head = "th[data-key=originality]"
    assert browser.find(head).get_attribute("aria-sort") == "ascending", "as it is opened"
    for direction in ("descending", "ascending"):
        browser.find(f"{head} button").click()
        values = [row["originality"] for row in browser.shown()]
        known = [float(value) for value in values if value]
        assert values[: len(known)] == [value for value in values if value] and len(known) < 500
        assert known == sorted(known, reverse=direction == "descending")
        assert browser.find(head).get_attribute("aria-sort") == direction
    assert browser.driver.current_url.endswith("#sort=originality")
    browser.find("th[data-key=name] button").click()
    assert [row["name"] for row in browser.shown()][:11] == [f"image {i}.png" for i in range(11)]


def test_rows_are_filtered_by_words_verdict_and_group(browser: Browser, many: Path) -> None:
    browser.open(many)
    browser.find("#search").send_keys("RARE 10")
    shown = browser.shown()
    assert shown and all("10" in row["name"] and row["group"] == "rare" for row in shown)
    assert browser.find("#count").text == f"{len(shown)} of 500 images"
    browser.find("#search").clear()
    browser.run("document.getElementById('search').dispatchEvent(new Event('input'))")
    assert browser.find("#count").text == "500 images"
    browser.run("(document.getElementById('verdict').value = 'out-of-domain')")
    browser.run("document.getElementById('verdict').dispatchEvent(new Event('input'))")
    assert {row["verdict"] for row in browser.shown()} == {"out-of-domain"}


def test_a_view_can_be_linked_to(browser: Browser, many: Path) -> None:
    browser.open(many, address="#q=image&group=unseen&sort=-tokens")
    shown = browser.shown()
    assert {row["group"] for row in shown} == {"unseen"}
    tokens = [float(row["tokens"]) for row in shown if row["tokens"]]
    assert tokens == sorted(tokens, reverse=True)
    browser.open(many, address="#sort=%3Cscript%3E&group=nosuch&q=%22")
    assert browser.complaints() == []


def test_the_keyboard_reaches_and_sorts_the_table(browser: Browser, many: Path) -> None:
    browser.open(many)
    browser.press("TAB")
    assert browser.run("document.activeElement.className") == "skip"
    for _ in range(12):
        browser.press("TAB")
        if browser.run("document.activeElement.closest('th')?.dataset.key") == "tokens":
            break
    else:
        pytest.fail("twelve tabs did not reach the column of tokens")
    browser.press("SPACE")
    assert browser.find("th[data-key=tokens]").get_attribute("aria-sort") == "ascending"


def test_a_row_leads_to_its_page_and_back(browser: Browser, many: Path) -> None:
    browser.open(many)
    browser.find("#table tbody a[href='pages/image-0.html']").click()
    assert "image 0.png" in browser.find("h1").text
    browser.find("header a").click()
    assert "500 images" in browser.find("h1").text


@pytest.mark.fault(26, "runs nowhere in a real browser")
def test_a_name_that_is_a_script_runs_nowhere(browser: Browser, tmp_path: Path) -> None:
    name = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">.png"
    result = samples.result(tmp_path, path=name, group=name)
    gallery.write_html(tmp_path, samples.report(result, result))
    browser.open(tmp_path / "report.html")
    assert browser.find("#table tbody tr td.file").text.startswith(name.rpartition("/")[2])
    gallery.write_html(tmp_path, samples.report(result))
    browser.open(tmp_path / "report.html")
    assert browser.driver.title != "run"
    assert browser.complaints() == []


def test_even_a_script_that_got_in_would_not_run(browser: Browser, tmp_path: Path, one: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(
        one.read_text("utf-8").replace("</h1>", "</h1><script>document.title = 'run'</script>"), "utf-8"
    )
    browser.open(page)
    assert browser.driver.title != "run"
    assert any("Content Security Policy" in message for message in browser.complaints())


def test_it_prints_on_few_pages_with_all_its_details(browser: Browser, one: Path) -> None:
    browser.open(one, scheme="dark")
    paper = browser.command("Page.printToPDF", preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69)
    data = base64.b64decode(paper["data"])
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 2 <= pages <= 5
