"""What the site has beside the pages of docs/: files of the repository's top, the API, the committed reports.

The pages are written to be read in the repository. So links that leave docs/ are turned to where the site has
their target, and the words after ```sh, which say what a command needs, are left out.
"""

import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import origcli
from origcli.reports.gallery import write_html
from origcli.reports.study_page import render_study
from origcli.reports.writers import read_report
from origcli.scoring.choices import knows_shapes_only

ROOT = Path(__file__).parents[2]

# File of the repository -> file of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "origcli/assets/shapes/MODEL_CARD.md": "model-card.md",
}
PLAIN = {
    "LICENSE": "files/LICENSE.txt",
    "THIRD_PARTY_NOTICES.md": "files/THIRD_PARTY_NOTICES.txt",
    "CITATION.cff": "files/CITATION.cff.txt",
    "action.yml": "files/action.yml.txt",
    "docs/slurm-array.sh": "files/slurm-array.sh.txt",
    "docs/site/iframe-worker.js": "assets/javascripts/iframe-worker.js",
}
# Its theme would load this from a server, in pages that are opened as files.
_LOADED, _SHIPPED = "https://unpkg.com/iframe-worker/shim", PLAIN["docs/site/iframe-worker.js"]
_ELSEWHERE = {**PAGES, **PLAIN}

API = f"""# Python API

The commands as functions: each does what its command does, with the same settings and the same files, and
returns its report. `from origcli import score` loads one at its first use.

{"".join(f"::: origcli.{name}{chr(10) * 2}" for name in origcli.__all__ if not name.startswith("_"))}

## Reports of score

::: origcli.reports.score
    options:
      show_root_heading: false
      show_root_toc_entry: false
      filters: ["!^_", "!^[A-Z_]+$"]

## Errors

::: origcli.errors
    options:
      show_root_heading: false
      show_root_toc_entry: false
      filters: ["!^_"]
"""
GALLERY = """# Gallery

The reports that are committed with their numbers, as origcli writes them. Each is one file.
[Results](results.md) says what they mean.

"""
TITLES = {
    "rarity": "Rarity: is a pair less original the more often it is in the training set?",
    "popularity": "Popularity: elements of every frequency",
    "fixed-location": "Fixed location: one pair, always in one place",
    "generalize": "Generalization: models that never saw one element",
    "transformer": "Rarity, of a transformer: is the order that of the data?",
    "score": "The images that were scored",
}

_LINK = re.compile(r"(\]\(|\b(?:src|srcset)=\")(?!https?:|mailto:|#)([^)#\"\s]+)")
_NEED = re.compile(r"^```sh [a-z]+$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is not in docs/."""
    for name, target in PAGES.items():
        files.append(File.generated(config, target, content=(ROOT / name).read_text("utf-8")))
    for name, target in PLAIN.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "api.md", content=API))
    listed = []
    for target, text, title in _reports():
        files.append(File.generated(config, target, content=text))
        listed.append(f"- [{title}]({target})\n")
    files.append(File.generated(config, "gallery.md", content=GALLERY + "".join(listed)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a page to the files of the site."""
    target = page.file.src_uri
    source = next((name for name, site in PAGES.items() if site == target), f"docs/{target}")

    def turned(match: re.Match[str]) -> str:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        there = _ELSEWHERE.get(name) or name.removeprefix("docs/")
        return match[1] + posixpath.relpath(there, posixpath.dirname(target) or ".")

    return _LINK.sub(turned, _NEED.sub("```sh", markdown))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Makes a page request nothing from elsewhere."""
    return output.replace(_LOADED, posixpath.relpath(_SHIPPED, posixpath.dirname(page.file.dest_uri) or "."))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for the page of addresses that do not exist, which is shown anywhere."""
    return output_content.replace(f'<script src="{_LOADED}"></script>', "")


def _reports() -> Iterator[tuple[str, str, str]]:
    """File of the site, text and title of each committed report, made again from its numbers."""
    for study in sorted((ROOT / "docs" / "results").glob("*/report.json")):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / study.parent.name
            shutil.copytree(study.parent, copy)
            render_study(copy)
            name = study.parent.name
            yield f"results/{name}/report.html", _page(copy), TITLES[name]
            if (scored := copy / "score").is_dir():
                report = read_report(scored, "score")
                write_html(scored, report, shapes_only=knows_shapes_only(report.provenance))
                yield f"results/{name}/score/report.html", _page(scored), f"{TITLES['score']} ({name})"


def _page(directory: Path) -> str:
    return (directory / "report.html").read_text("utf-8")
