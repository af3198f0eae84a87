"""The directories of score runs: reports drawn again, runs joined, figures for print."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError, UsageError
from origcli.images.inputs import Input
from origcli.reports.envelope import LeftOut
from origcli.reports.schema import ModelFacts
from origcli.reports.writers import read_report
from origcli.runtime.run_record import run_record
from origcli.scoring import merging, run_archive
from origcli.settings import Settings
from tests.reports.samples import provenance
from tests.scoring.results import score_result
from tests.scoring.runs import bytes_of, count_calls, score

pytestmark = pytest.mark.usefixtures("pixel_metric")


def test_shards_join_to_the_bytes_of_one_run(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    inputs = [pictures[0], Input(tmp_path / "broken.png", "broken"), *pictures[1:]]
    score(tiny_settings(), tmp_path / "whole", inputs)
    for shard in ("1/2", "2/2"):
        score(tiny_settings(), tmp_path / shard[0], inputs, shard=shard)
    ids = [[result.id for result in read_report(tmp_path / name).results] for name in "12"]
    assert ids == [["a", "b"], ["c"]]
    merging.merge([tmp_path / "2", tmp_path / "1"], tmp_path / "joined")
    assert bytes_of(tmp_path / "joined") == bytes_of(tmp_path / "whole")
    for folder in ("pictures", "embeddings"):
        names = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole" / folder).rglob("*.*")}
        assert names and all((tmp_path / "joined" / name).is_file() for name in names)
    with pytest.raises(Exception, match="not parts of one list"):
        merging.merge([tmp_path / "1", tmp_path / "whole"], tmp_path / "twice")
    score(tiny_settings(score={"samples": 4}), tmp_path / "other", inputs[:1])
    with pytest.raises(UsageError, match="cannot be merged"):
        merging.merge([tmp_path / "1", tmp_path / "other"], tmp_path / "mixed")


def test_runs_of_one_image_each_get_pages_when_they_are_joined(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    for name, one in zip("12", pictures[:2], strict=True):
        score(tiny_settings(), tmp_path / name, [one])
        assert not (tmp_path / name / "pages").exists()
    merging.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "joined")
    overview = (tmp_path / "joined/report.html").read_text()
    for result in read_report(tmp_path / "joined").results:
        assert f'href="{result.page}"' in overview and (tmp_path / "joined" / result.page).is_file()
    merging.merge([tmp_path / "1"], tmp_path / "alone")
    assert bytes_of(tmp_path / "alone") == bytes_of(tmp_path / "1")


def test_a_report_is_drawn_again_from_what_is_recorded(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    score(tiny_settings(), tmp_path / "out", pictures)
    before = bytes_of(tmp_path / "out")
    for name in ("report.html", "report.json", "report.csv", "pages/a.html"):
        (tmp_path / "out" / name).unlink()
    run_archive.render_run(tmp_path / "out", in_print=True)
    assert bytes_of(tmp_path / "out") == before
    assert {path.name for path in (tmp_path / "out/figures").iterdir()} == {
        f"{name}.{form}"
        for name in ("groups", "images", *(f"{kind}-{i}" for kind in ("curve", "drawings") for i in "abc"))
        for form in ("png", "pdf")
    }


def test_reports_say_what_was_left_out_when_they_are_drawn_again_or_joined_too(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    beside = [
        LeftOut(where="art", what="2 images hidden by their names"),
        LeftOut(where="art", what="1 link that leads out of it", remedy="--follow-links includes them"),
    ]
    report = score(tiny_settings(), tmp_path / "whole", pictures[:2], left_out=beside)
    assert report.left_out == tuple(beside)
    before = bytes_of(tmp_path / "whole")
    assert json.loads(before["report.json"])["left_out"] == [one.to_json() for one in beside]
    assert b"2 images hidden by their names" in before["report.html"]
    run_archive.render_run(tmp_path / "whole")
    assert bytes_of(tmp_path / "whole") == before
    for shard in ("1/2", "2/2"):
        score(tiny_settings(), tmp_path / shard[0], pictures[:2], shard=shard, left_out=beside)
    merging.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "joined")
    assert bytes_of(tmp_path / "joined") == before, "both parts found the same"
    (tmp_path / "whole" / "left-out.json").unlink()  # as an earlier version wrote it
    assert run_archive.render_run(tmp_path / "whole").left_out == ()


def test_pages_say_date_and_command_on_request_alone(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/origcli", "score", "a b.png"])
    out = tmp_path / "out"
    score(tiny_settings(), out, pictures[:2], dated=True)
    dated = bytes_of(out)
    begun = json.loads((out / "run.json").read_text())["begun"]
    line = f"{begun[:10]} {begun[11:16]} UTC: origcli score &#39;a b.png&#39;"
    names = [name for name, data in dated.items() if line in data.decode()]
    assert sorted(names) == ["pages/a.html", "pages/b.html", "report.html"]
    run_archive.render_run(out)
    plain = bytes_of(out)
    assert not [name for name, data in plain.items() if b"a b.png" in data or begun[:10].encode() in data]
    run_archive.render_run(out, with_date=True)
    assert bytes_of(out) == dated, "the date is that of the run, whenever its pages are written"


def test_every_image_has_its_figures_and_the_first_share_a_sheet(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from origcli.reports import figures

    monkeypatch.setattr(run_archive, "_ON_A_SHEET", 2)
    monkeypatch.setattr(run_archive, "_FORMS", ("png",))
    rows = count_calls(monkeypatch, figures, "print_figure")
    named = Input(pictures[2].path, "images")  # an image may be called like the sheet
    score(tiny_settings(), tmp_path / "out", [*pictures[:2], named], in_print=True)
    assert [[result.id for result in call[1]] for call in rows] == [["a", "b"], ["a"], ["b"], ["images"]]
    assert (tmp_path / "out/figures/drawings-images.png").is_file()


@pytest.mark.parametrize(("metric", "shapes_only"), [("elements", True), ("unheard-of", False)])
def test_pages_say_what_the_metric_tells_of_the_model(tmp_path: Path, metric: str, shapes_only: bool) -> None:
    made_by = provenance(metric=ModelFacts(name=metric))
    made_by = made_by.model_copy(update={"settings": {"score": {"bootstrap": 20}}})
    results = [score_result(name, curve=(0.5, 0.4), originality=0.3) for name in "ab"]
    paged = [run_archive.add_page(tmp_path, result, made_by) for result in results]
    run_archive.write_reports(tmp_path, paged, [], made_by, 2)
    for page in ("pages/a.html", "pages/b.html", "report.html"):
        assert ("knows colored shapes only" in (tmp_path / page).read_text("utf-8")) is shapes_only


def _no_settings(value: Any) -> None:
    value["settings"] = {}


def _settings_are_a_list(value: Any) -> None:
    value["settings"]["score"] = [1]


def _replicates_are_text(value: Any) -> None:
    value["settings"]["score"]["bootstrap"] = "many"


def _replicates_fill_the_memory(value: Any) -> None:
    value["settings"]["score"]["bootstrap"] = 10**12


def _ragged(value: Any) -> None:
    value["curve"][0]["distances"] = [[0.1, 0.2], [0.3]]


def _no_distances(value: Any) -> None:
    value["curve"][0]["distances"] = []


def _fewer(value: Any) -> None:
    value["curve"][1]["distances"] = [[0.1]]


@pytest.mark.fault(53, "a damaged provenance.json or result is named by report render and merge, exit 3")
@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("provenance.json", _no_settings),
        ("provenance.json", _settings_are_a_list),
        ("provenance.json", _replicates_are_text),
        ("provenance.json", _replicates_fill_the_memory),
        ("results.jsonl", _ragged),
        ("results.jsonl", _no_distances),
        ("results.jsonl", _fewer),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, file: str, change: Callable[[Any], None]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    result = score_result(curve=(0.5, 0.4), originality=0.3, group="a")
    files = {"provenance.json": provenance().to_json(), "results.jsonl": result.to_json()}
    files["provenance.json"]["settings"]["score"]["bootstrap"] = 20
    change(files[file])
    for name, value in files.items():
        (run / name).write_text(json.dumps(value) + "\n")
    (run / "images.json").write_text(json.dumps([[0, result.id, "a.png", "a"]]))
    (run / "plan.json").write_text("{}")
    (run / "run.json").write_text(json.dumps(run_record(1.0)))
    with pytest.raises(InputError, match=r"damaged|not a valid report"):
        run_archive.render_run(run)
    with pytest.raises(InputError, match=r"damaged|not a valid report"):
        merging.merge([run], tmp_path / "joined")
