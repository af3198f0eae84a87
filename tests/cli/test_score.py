"""`origcli score`, and `report`, `cache` and `calibrate` beside it, as a user runs them."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from safetensors.torch import load_file, save_file

from origcli.cli.app import main
from origcli.images.inputs import Input
from tests.cli.command_line import run_here

QUICK = (
    *("--max-tokens", "2", "--samples", "3", "--denoising-steps", "2", "--learning-steps", "2"),
    *("--edit-prompt", "none"),
    *("--device", "cpu", "--threads", "1", "--quiet"),
)

SMALL = {
    "ORIGCLI_INVERT_BATCH_SIZE": "2",
    "ORIGCLI_INVERT_EVALUATE_SAMPLES": "2",
    "ORIGCLI_SCORE_CEILING_SAMPLES": "4",
    "ORIGCLI_SCORE_BOOTSTRAP": "30",
}


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], pixel_metric: None
) -> Any:
    """Runs a command in this process, in its own directory, with the metric of the tests."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"ORIGCLI_CACHE": str(tmp_path / "cache"), **SMALL}.items():
        monkeypatch.setenv(name, value)

    def call(*words: Any) -> Any:
        return run_here(capsys, *words)

    return call


@pytest.mark.fault(5, "exit 3 in a moment: torch is not even loaded")
def test_a_missing_file_is_told_at_once_and_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom origcli.cli.app import main\n"
        "try: main(['score', 'nosuch.jpg'])\n"
        "except SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "3 False\n"
    assert done.stderr.splitlines()[0] == "origcli: nosuch.jpg: no such file"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--fail-if", "originality<<1"), "--fail-if"),
        (("--max-tokens", "0"), "max_tokens"),
        (("--max-tokens", "many"), "--max-tokens"),
        (("--shard", "3/2"), "--shard"),
        (("--scheduler", "best"), "scheduler"),
        (("--model", "sd16"), "sd16"),
        (("--metric", "lpips"), "lpips"),
    ],
)
def test_wrong_words_are_usage_errors(
    run: Any,
    pictures: list[Input],
    tiny_bert_pipeline_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: Any,
    told: str,
) -> None:
    if "--metric" in words:
        from origcli.perception.metrics import open_metric

        monkeypatch.setattr("origcli.scoring.setup.open_metric", open_metric)
    model = () if "--model" in words else ("--model", tiny_bert_pipeline_dir)
    done = run("score", pictures[0].path, *model, *QUICK, *words)
    assert done.status == 2 and told in done.err and "Traceback" not in done.err and not done.out


def test_one_image_as_a_table(run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path) -> None:
    done = run("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK)
    assert done.status == 0 and not done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("a.png  measured with ") and " · originality 0." in lines[0]
    assert lines[2].split()[:2] == ["m", "distance"]
    assert [line.split()[0] for line in lines[3:5]] == ["1", "2"]
    assert "originality" in done.out
    assert {"report.html", "report.json", "report.csv", "run.json"} <= {
        path.name for path in Path("runs/score-a").iterdir()
    }
    done = run("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK)
    assert done.status == 0 and Path("runs/score-a-2/report.html").is_file()


@pytest.mark.fault(1, "a row with the error, exit 3; the other images are done")
def test_many_images_in_every_format(run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path) -> None:
    Path("bad.png").write_bytes(b"")
    words = ("score", "pictures", "bad.png", "--model", tiny_bert_pipeline_dir, *QUICK)

    done = run(*words, "--format", "csv", "--out", "csv")
    assert done.status == 3
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["id"], row["m"]) for row in rows] == [*((i, m) for i in "abc" for m in "12"), ("", "")]
    assert done.out == Path("csv/report.csv").read_text()

    done = run(*words, "--format", "jsonl", "--out", "jsonl")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [next(iter(line)) for line in lines] == ["result"] * 3 + ["error"]
    assert lines[2]["result"]["group"] == "pictures/original"

    done = run(*words, "--format", "json", "--out", "json")
    assert json.loads(done.out) == json.loads(Path("json/report.json").read_text())
    assert json.loads(done.out)["status"] == "partial"
    jsonschema.validate(json.loads(done.out), json.loads(run("schema", "score").out))

    done = run(*words, "--out", "table")
    assert done.status == 3
    *verdicts, gap, counts = done.out.splitlines()
    names = [line.split("  ")[0] for line in verdicts]
    assert names == ["pictures/common/a.png", "pictures/common/b.png", "pictures/original/c.png", "bad.png"]
    assert all(" · originality " in line for line in verdicts[:3])
    assert "  unreadable · " in verdicts[3] and "0 bytes" in verdicts[3]
    scale = "originality is between 0 (familiar) and 1 (original)"
    assert (gap, counts) == ("", f"3 scored, 1 unreadable; {scale}")

    done = run(*words, "--out", "table", "--resume", "--verbose")
    assert done.out.count("loss") == 3 and done.out.endswith(f"{counts}\n")
    assert len({Path(form, "report.json").read_bytes() for form in ("csv", "jsonl", "json", "table")}) == 1


def test_a_gate_has_an_exit_status_of_its_own(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK)
    done = run(*words, "--out", "out", "--fail-if", "floor<=0", "--fail-if", "floor>=0")
    assert done.status == 10 and "'floor>=0' holds for" in done.err and "a.png" in done.err
    assert Path("out/report.json").is_file()
    assert run(*words, "--out", "other", "--fail-if", "floor<=0").status == 0
    # Also when everything was measured before.
    assert run(*words, "--out", "out", "--resume", "--fail-if", "floor>=0").status == 10


@pytest.mark.fault(50, "exit 9, and a gate fails with it; --allow-unmeasured lets it pass")
def test_an_image_that_was_not_measured_has_an_exit_status_of_its_own(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK)
    outside = (*words, "--threshold", "0")  # its round trip is farther from it than that
    assert run(*words).status == 0
    done = run(*outside)
    assert done.status == 9 and "a.png: not measured" in done.err and "--measure-anyway" in done.err
    assert run(*outside, "--fail-if", "originality<0.3").status == 9
    assert run(*outside, "--fail-if", "verdict=redrawn").status == 9
    done = run(*outside, "--fail-if", "originality<0.3", "--allow-unmeasured")
    assert done.status == 0 and not done.err
    done = run(*outside, "--measure-anyway", "--format", "json", "--out", "anyway")
    (result,) = json.loads(done.out)["results"]
    assert done.status == 0 and result["curve"] and result["domain_check"]["forced"]
    # What is found outweighs what is not: 10, then 3, then 9.
    assert run(*outside, "--fail-if", "verdict='out-of-domain'").status == 10
    Path("bad.png").write_bytes(b"")
    assert run(*outside, "bad.png").status == 3
    assert run(*outside, "bad.png", "--fail-if", "verdict=out-of-domain").status == 10


@pytest.mark.fault(51, "a result without the value asked for fails the gate with exit 9")
def test_a_condition_that_cannot_be_judged_is_no_pass(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK, "--threshold", "9")
    gated = (*words, "--until-reached", "--fail-if", "originality<0.3")  # stops at m = 1: no originality
    done = run(*gated)
    assert done.status == 9 and "'originality<0.3' cannot be judged for" in done.err and "a.png" in done.err
    assert run(*gated, "--allow-unmeasured").status == 0
    # A condition that another meets is still found.
    assert run(*gated, "--fail-if", "tokens_needed=1").status == 10
    done = run(*words[:-2], "--fail-if", "tokens_needed=1", "--out", "none")
    assert (
        done.status == 2 and "no threshold is calibrated" in done.err and not Path("none/plan.json").exists()
    )


def test_force_starts_over_and_measures_nothing_more(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK, "--out", "out")
    assert run(*words).status == 0
    done = run(*words, "--force", "--threshold", "0", "--format", "json")
    (result,) = json.loads(done.out)["results"]
    assert done.status == 9 and not result["curve"] and not result["domain_check"]["forced"]


def test_a_directory_in_use_is_kept(run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK, "--out", "out")
    assert run(*words).status == 0
    before = Path("out/report.json").read_bytes()
    assert run(*words).status == 2
    done = run(*words, "--resume", "--samples", "4")
    assert done.status == 2 and "samples was 3, is 4" in done.err
    assert run(*words, "--resume").status == 0
    assert Path("out/report.json").read_bytes() == before
    assert run(*words, "--force", "--samples", "4").status == 0
    assert Path("out/report.json").read_bytes() != before


def test_learned_tokens_can_be_scored_again(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK)
    assert run(*words, "--out", "first").status == 0
    files = [f"first/embeddings/a-m{m}.safetensors" for m in (1, 2)]
    done = run(*words, "--out", "second", *(w for file in files for w in ("--embeddings", file)))
    assert done.status == 0
    curves = [
        [point["distances"] for point in json.loads(Path(name, "results.jsonl").read_text())["curve"]]
        for name in ("first", "second")
    ]
    assert curves[0] == curves[1]
    done = run(*words, "--embeddings", files[0], "--embeddings", files[0])
    assert done.status == 2 and "1 tokens too" in done.err
    done = run("score", "pictures", "--embeddings", files[0], *QUICK)
    assert done.status == 2 and "one image" in done.err


def test_a_plan_costs_and_writes_nothing(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    done = run(
        *("score", "pictures", "--model", tiny_bert_pipeline_dir, *QUICK, "--dry-run", "--format", "json")
    )
    assert done.status == 0, done.err
    stages = {stage["stage"]: stage for stage in json.loads(done.out)}
    # 3 images × 2 token counts × 2 steps × 2 samples, and L_det of 2 samples before, after and without tokens
    assert stages["learn"]["count"] >= 3 * 2 * 2 * 2
    assert stages["draw"]["count"] == (3 * 2 * 3 + 4 + 3) * 2 * 2
    assert stages["decode"]["count"] == 3 * 2 * 3 + 4 + 3
    assert all(stage["tflop"] > 0 and stage["minutes"] >= 0 for stage in stages.values())
    assert stages["all"]["tflop"] == pytest.approx(
        sum(stages[name]["tflop"] for name in ("learn", "draw", "decode"))
    )
    assert stages["learn"]["batch"] == 2 * 2 and stages["draw"]["batch"] >= stages["decode"]["batch"] >= 1
    peaks = [stages[name]["gigabytes"] for name in ("learn", "draw", "decode")]
    assert min(peaks) > 0 and stages["all"]["gigabytes"] == max(peaks)
    assert not Path("runs").exists()


def test_a_plan_counts_the_calibration_that_comes_first(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK, "--dry-run")
    done = run(*words, "--calibrate", "--format", "json")
    assert done.status == 0, done.err
    stages = {stage["stage"]: stage for stage in json.loads(done.out)}
    assert set(stages) == {"calibrate", "learn", "draw", "decode", "all"}
    parts = [stage["tflop"] for name, stage in stages.items() if name != "all"]
    assert stages["all"]["tflop"] == pytest.approx(sum(parts)) and min(parts) > 0


def test_a_plan_is_of_this_shard_of_the_given_tokens_and_of_the_edit(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("--model", tiny_bert_pipeline_dir, *QUICK, "--format", "json")

    def counts(*more: Any) -> Any:
        done = run("score", *words, *more, "--dry-run")
        assert done.status == 0, done.err
        return {one["stage"]: (one["count"], one["product"]) for one in json.loads(done.out)}

    shard = counts("pictures", "--shard", "2/2")
    assert shard["decode"][0] == 1 * 2 * 3 + 4 + 3 and shard["all"][1] == "1 image on cpu"
    assert run("score", "pictures", *words, "--dry-run", "--shard", "3/2").status == 2

    assert run("score", pictures[0].path, *words, "--out", "first").status == 0
    given = counts(pictures[0].path, "--embeddings", "first/embeddings/a-m2.safetensors", "--repeats", "2")
    assert "learn" not in given and given["decode"][0] == 1 * 1 * 3 + 4 + 3

    edited = counts("pictures", "--edit-prompt", "cat with {S}")
    assert edited["decode"][0] == 3 * 2 * 3 + 3 * 3 + 4 + 3 and "9 of the edit" in edited["draw"][1]


def test_shards_are_joined_and_reports_drawn_again(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", "pictures", "--model", tiny_bert_pipeline_dir, *QUICK)
    assert run(*words, "--out", "whole").status == 0
    for i in (1, 2):
        assert run(*words, "--shard", f"{i}/2", "--out", f"shard-{i}").status == 0
    done = run("report", "merge", "shard-1", "shard-2", "--out", "joined")
    assert (done.status, done.out) == (0, "joined/report.html\n")
    assert Path("joined/report.json").read_bytes() == Path("whole/report.json").read_bytes()
    Path("joined/report.html").unlink()
    assert run("report", "render", "joined").status == 0
    assert Path("joined/report.html").read_bytes() == Path("whole/report.html").read_bytes()
    assert run("report", "merge", "shard-1", "shard-2", "--out", "shard-1", "--force").status == 2
    assert Path("shard-1/results.jsonl").is_file()
    done = run("report", "render", "pictures")
    assert done.status == 3 and "not the directory of a finished run" in done.err


def test_the_cache_is_shown_and_cleared(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK)
    assert run(*words, "--no-cache", "--out", "without").status == 0
    assert not Path("cache/score").exists()
    assert run(*words, "--out", "with").status == 0
    shown = json.loads(run("cache", "show", "--format", "json").out)
    (section,) = [entry for entry in shown if entry["section"] == "score"]
    assert section["files"] == 6  # two tokens, their drawings, the ceiling, drawings without tokens
    assert run("cache", "clear").status == 0
    assert not Path("cache/score").exists()
    assert run("cache", "clear", "nothing").status == 2


def test_calibration_writes_what_scores_stand_on(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path, tmp_path: Path
) -> None:
    import shutil

    from origcli.weights.registry import read_registry

    model = shutil.copytree(tiny_bert_pipeline_dir, tmp_path / "model")
    words = ("--device", "cpu", "--threads", "1", "--quiet", "--denoising-steps", "2", "--samples", "2")
    assert run("synth", "held-out", "--count", "6", "--seed", "3", "--quiet").status == 0
    done = run(
        *("calibrate", "held-out", "--model", model, "--queries", "2", "--write", "--format", "json", *words),
        *("--guidance", "2", "--out", "calibrated"),
    )
    assert done.status == 0, done.err
    (result,) = json.loads(done.out)["results"]
    values = read_registry(model)
    (scale,) = values.scales
    assert (values.metric, values.guidance) == ("pixels", 2.0)
    assert values.psnr_limit == result["psnr_limit"]["value"] and result["psnr_images"] == 6
    assert scale.ceiling == result["ceiling"]["value"] > 0 and "2 held-out" in scale.threshold_how

    done = run("score", pictures[0].path, "--model", model, *QUICK, "--format", "json", "--measure-anyway")
    assert done.status == 0, done.err
    (scored,) = json.loads(done.out)["results"]
    assert scored["threshold"]["source"] == "registry"
    assert scored["threshold"]["value"] == result["threshold"]["value"]
    assert scored["ceiling"]["value"] == result["ceiling"]["value"]
    assert scored["domain_check"]["psnr_limit"] == values.psnr_limit

    Path("pictures/notes.txt").touch()
    done = run("calibrate", "pictures", "--model", model, *words, "--format", "json", "--out", "plain")
    report = json.loads(done.out)
    assert [one["what"] for one in report["left_out"]] == ["1 file that is not an image: .txt"]
    (plain,) = report["results"]
    assert plain["threshold"]["value"] is None and "captions" in plain["threshold"]["reason"]


def test_stdin_names_images(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = io.TextIOWrapper(io.BytesIO(f"{pictures[0].path}\n{pictures[1].path}\n".encode()))
    monkeypatch.setattr("sys.stdin", lines)
    done = run("score", "-", "--model", tiny_bert_pipeline_dir, *QUICK, "--format", "csv")
    assert done.status == 0 and {row["id"] for row in csv.DictReader(io.StringIO(done.out))} == {"a", "b"}


def test_a_model_without_a_detector_has_no_elements(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pictures: list[Input],
    tiny_bert_pipeline_dir: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "score",
                str(pictures[0].path),
                "--model",
                str(tiny_bert_pipeline_dir),
                "--metric",
                "elements",
                *QUICK,
            ]
        )
    assert stopped.value.code == 4 and "--detector DIR" in capsys.readouterr().err


@pytest.mark.fault(11, "a killed score comes to the same reports")
def test_killed_runs_go_on_to_the_same_bytes(
    run: Any, tmp_path: Path, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    """SIGKILL in the middle, in a process of its own, before the second drawing of a batch of two images."""
    program = (
        "import os, signal, sys\nfrom tests.measuring import PixelDistance\n"
        "from origcli.scoring import drawing, measure, setup\n"
        "setup.open_metric = lambda *_, **__: PixelDistance()\nmeasure.LEAST_RANGE = -10.0\n"
        "draw, calls = drawing.draw, []\n"
        "def once(*a, **k):\n"
        "    calls.append(1)\n"
        "    return os.kill(os.getpid(), signal.SIGKILL) if len(calls) > 1 else draw(*a, **k)\n"
        "drawing.draw = once\n"
        "from origcli.cli.app import main\nmain(sys.argv[1:])\n"
    )
    words = ("score", "pictures", "--model", tiny_bert_pipeline_dir, *QUICK, "--no-cache", "--together", "2")
    killed = subprocess.run(
        [sys.executable, "-c", program, *words, "--out", "killed"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert killed.returncode == -9 and not Path("killed/report.json").exists()
    assert len(Path("killed/results.jsonl").read_text().splitlines()) == 1
    assert run(*words, "--out", "killed", "--resume").status == 0
    assert run(*words, "--out", "whole").status == 0
    for name in ("report.json", "report.csv", "report.html", "results.jsonl"):
        assert Path("killed", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.fixture
def tuned(tiny_bert_pipeline_dir: Path, tmp_path: Path) -> Path:
    """Another model, in a directory that a training might have written."""
    directory = tmp_path / "tuned" / "pipeline"
    shutil.copytree(tiny_bert_pipeline_dir, directory)
    weights = directory / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: values * 0.9 for name, values in load_file(weights).items()}, weights)
    return directory


def test_two_models_have_a_run_each_and_a_comparison(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path, tuned: Path
) -> None:
    models = ("--model", tiny_bert_pipeline_dir, "--model", tuned)
    words = ("score", pictures[0].path, *models, *QUICK)
    done = run(*words, "--out", "both")
    assert done.status == 0 and not done.err
    assert {path.name for path in Path("both").iterdir()} >= {"bert", "tuned", "comparison", "run.json"}
    assert "difference" in done.out.splitlines()[0] and "fewer than 5 images" in done.out
    page = Path("both/comparison/report.html").read_text("utf-8")
    assert "tuned against bert" in page

    # A run is what it is alone, and can be resumed alone.
    alone = run("score", pictures[0].path, "--model", tuned, *QUICK, "--out", "alone")
    assert alone.status == 0
    for name in ("report.json", "report.csv", "report.html"):
        assert Path("both/tuned", name).read_bytes() == Path("alone", name).read_bytes()

    compared = json.loads(run(*words, "--out", "both", "--resume", "--format", "json").out)
    assert compared == json.loads(Path("both/comparison/report.json").read_text())
    assert run(*words, "--out", "both").status == 2
    assert run(*words, "--out", "both", "--force", "--fail-if", "floor>=0").status == 10
    assert run(*words).status == 0
    assert Path("runs/score-2-models-a/comparison/report.csv").is_file()


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.measuring import PixelDistance
from origcli.scoring import compare, drawing, measure, setup
setup.open_metric = lambda *_, **__: PixelDistance()
measure.LEAST_RANGE = -10.0
draw = drawing.draw
def until(*a, **k):
    results = Path("killed", {where!r}, "results.jsonl")
    if results.exists() and results.stat().st_size:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(*a, **k)
drawing.draw = until
if {where!r} == "comparison":
    compare.write_comparison = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from origcli.cli.app import main
main(sys.argv[1:])
"""


@pytest.mark.fault(11, "of two models, too, in either and before their comparison")
def test_two_models_killed_go_on_to_the_same_bytes(
    run: Any, tmp_path: Path, pictures: list[Input], tiny_bert_pipeline_dir: Path, tuned: Path
) -> None:
    models = ("--model", tiny_bert_pipeline_dir, "--model", tuned)
    words = ("score", "pictures", *models, *QUICK, "--no-cache")
    for where in ("bert", "tuned", "comparison"):
        more = ("--resume",) if Path("killed").exists() else ()
        killed = subprocess.run(
            [sys.executable, "-c", KILLED.format(where=where), *words, "--out", "killed", *more],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        assert killed.returncode == -9 and Path("killed", where).is_dir()
        assert not Path("killed", where, "report.json").exists()
    assert run(*words, "--out", "killed", "--resume").status == 0
    assert run(*words, "--out", "whole").status == 0
    assert _reports_of("killed") == _reports_of("whole")


def _reports_of(out: str) -> dict[str, bytes]:
    """The reports of both models and of their comparison."""
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in Path(out).rglob("*")
        if path.name in {"report.json", "report.csv", "report.html", "results.jsonl"}
    }
    assert {Path(name).parent.name for name in found} >= {"bert", "tuned", "comparison"}
    return found


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--shard", "1/2"), "--shard goes with one --model"),
        (("--embeddings", "a.safetensors"), "--embeddings goes with one --model"),
        (("--reference", "a.json"), "--reference is a report of one model"),
    ],
)
def test_what_goes_with_one_model_is_refused_for_two(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path, tuned: Path, words: Any, told: str
) -> None:
    models = ("--model", tiny_bert_pipeline_dir, "--model", tuned)
    done = run("score", pictures[0].path, *models, *QUICK, *words)
    assert done.status == 2 and told in done.err and not Path("runs/score-2-models-a").exists()


def test_one_model_given_twice_is_refused(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    models = ("--model", tiny_bert_pipeline_dir, "--model", f"{tiny_bert_pipeline_dir}/.")
    done = run("score", pictures[0].path, *models, *QUICK)
    assert done.status == 2 and "the same model twice" in done.err
    assert not list(Path("runs").iterdir())


def test_models_of_different_metrics_are_refused_before_any_run(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    models = ("--model", "shapes", "--model", tiny_bert_pipeline_dir)
    done = run("score", pictures[0].path, *models, *QUICK)
    assert done.status == 2 and "the metric elements, and bert with" in done.err


def test_a_dry_run_of_two_models_shows_the_cost_of_each(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path, tuned: Path
) -> None:
    models = ("--model", tiny_bert_pipeline_dir, "--model", tuned)
    done = run("score", pictures[0].path, *models, *QUICK, "--dry-run", "--format", "json")
    rows = json.loads(done.out)
    assert [row["model"] for row in rows if row["stage"] == "all"] == ["bert", "tuned"]
    assert not Path("runs").exists()
