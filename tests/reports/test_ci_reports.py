"""JUnit XML and Markdown of scores: what is counted and shown, and that no name of a file becomes markup."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from origcli.reports import job_summary
from origcli.reports.cases import Case, CaseState, Suite
from origcli.reports.job_summary import plain, suite_section
from origcli.reports.junit import JUNIT_START, junit_chunks

NASTY = "x|y`![a](http://h/a.png)<img src=q onerror=e>]]>&\"'\x1b[31m\ud800\nz @all #1.png"
CASES = (
    Case("a.png", CaseState.passed, verdict="familiar", words="It is.", page="pages/a.html"),
    Case(NASTY, CaseState.failed, NASTY, "gate", NASTY, NASTY, "0.04", NASTY, "p/a b.webp", "p/(1).html"),
    Case("b.png", CaseState.broken, kind="input", reason="0 bytes", words="give another"),
    Case("c.png", CaseState.skipped, kind="unmeasured", reason="too large"),
)


def suite(*cases: Case, directory: Path = Path("out")) -> Suite:
    return Suite("sd15", directory, lambda: iter(cases), ["originality<0.3"], "Threshold 0.4.", {"seed": "7"})


def test_junit_counts_and_tells_each_case() -> None:
    text = "".join(junit_chunks([suite(*CASES), suite(CASES[0])]))
    assert text.startswith(JUNIT_START)
    root = ElementTree.fromstring(text)
    whole = {"name": "origcli", "tests": "5", "failures": "1", "errors": "1", "skipped": "1"}
    assert root.attrib == whole
    first, second = root
    assert first.attrib == {**whole, "name": "sd15", "tests": "4"} and second.get("tests") == "1"
    assert [one.attrib for one in first.iter("property")] == [{"name": "seed", "value": "7"}]
    a, nasty, b, c = first.iter("testcase")
    assert a.attrib == {"classname": "images", "name": "a.png"}
    assert [child.tag for child in a] == ["system-out"]
    failure = nasty.find("failure")
    assert failure is not None and failure.get("type") == "gate" and "&" in (failure.text or "")
    assert "\\u001b[31m\\ud800\\u000az" in (nasty.get("name") or "")
    broken, skipped = b.find("error"), c.find("skipped")
    assert broken is not None and broken.attrib == {"type": "input", "message": "0 bytes"}
    assert skipped is not None and skipped.get("message") == "too large"


def test_a_summary_says_what_was_left_out() -> None:
    beside = replace(suite(CASES[0]), left_out=[f"art: left out: 2 images {NASTY}", "b: left out: 1 file"])
    seen = rendered(suite_section(beside, Path()))
    assert "art: left out: 2 images" in seen.text and "b: left out: 1 file" in seen.text
    assert sum(tag == "li" for tag, _ in seen.tags) == 2 and not any(tag == "img" for tag, _ in seen.tags)


class Seen(HTMLParser):
    """The tags with their attributes and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> Seen:
    return Seen(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def test_no_name_becomes_markup() -> None:
    seen = rendered(suite_section(suite(*CASES), Path()))
    kinds = [tag for tag, _ in seen.tags]
    assert kinds.count("tr") == 1 + len(CASES) and kinds.count("td") == 5 * len(CASES)
    assert [attributes["src"] for tag, attributes in seen.tags if tag == "img"] == ["out/p/a%20b.webp"]
    addresses = [attributes["href"] for tag, attributes in seen.tags if tag == "a"]
    assert addresses == ["out/p/%281%29.html", "out/pages/a.html", "out/report.html"]
    assert set(kinds) <= {
        *("h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "a", "img")
    }
    assert "onerror=e>]]>" in seen.text and "\x1b" not in seen.text


@pytest.mark.parametrize("character", [chr(code) for code in range(33, 127)])
def test_every_character_is_shown_as_itself(character: str) -> None:
    text = f"{character}a{character}"
    seen = rendered(f"{plain(text)}\n")
    assert seen.text.strip() == text and [tag for tag, _ in seen.tags] == ["p"]
    assert unescape(plain(text)) == text


def test_the_summary_begins_with_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_summary, "SHOWN", 2)
    text = suite_section(suite(*CASES), Path())
    assert "**1 of 4 images failed, 1 could not be scored, 1 not measured**" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 2 and "failed: " in rows[0] and "b.png" in rows[1]
    assert "2 more images are in the report." in text


def test_links_lead_from_the_file_to_the_report(tmp_path: Path) -> None:
    case = Case("a.png", CaseState.passed, thumbnail="pictures/a/thumbnail.webp")
    seen = rendered(suite_section(suite(case, directory=tmp_path / "run dir"), tmp_path / "ci"))
    (source,) = [attributes["src"] for tag, attributes in seen.tags if tag == "img"]
    assert source == "../run%20dir/pictures/a/thumbnail.webp"
