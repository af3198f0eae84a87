"""`from origcli import score, invert, synth`: the commands as functions, at the smallest scale."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image

import origcli
from origcli import Scorer, calibrate, compare, draw, invert, score, synth
from origcli.cli.app import app
from origcli.errors import InputError, UsageError
from origcli.interface import calling, measuring, parts, setup, shapes, studies
from origcli.interface.calling import RUNTIME, Call, settings_of
from tests.measuring import pixel_metric
from tests.reports import samples
from tests.scoring.runs import count_calls

__all__ = ["pixel_metric"]

TINY: dict[str, dict[str, Any]] = {
    "synth": {"resolution": 32},
    "invert": {"steps": 2, "batch_size": 2},
    "draw": {"steps": 2, "batch_size": 4},
    "score": {
        "samples": 2,
        "ceiling_samples": 2,
        "bootstrap": 20,
        "edit_prompt": "none",
        "calibrate": False,
        "measure_anyway": True,
    },
}
COMMANDS = {
    "score": "score",
    "Scorer": "score",
    "compare": "compare",
    "calibrate": "calibrate",
    "invert": "invert",
    "draw": "draw",
    "detect": "detect",
    "synth": "synth",
    "train_vae": "train-vae",
    "train_unet": "train-unet",
    "train_transformer": "train-transformer",
    "train_detector": "train-detector",
    "generalize": "generalize",
    "rarity": "rarity",
    "fixed_location": "fixed-location",
    "popularity": "popularity",
    "import_model": "import",
    "fetch": "fetch",
    "doctor": "doctor",
}
# Options that are no keywords: what is printed, exit statuses, plans.
OF_THE_TERMINAL = {
    *("form", "verbose", "as_json", "dry_run", "plan", "show", "preview", "evaluate"),
    *("fail_if", "allow_unmeasured", "junit", "summary", "detect.count", "compare.quiet"),
}
# Those of a single call of a Scorer.
OF_A_LIST = {
    *(
        "workers",
        "images",
        "group_column",
        "image_column",
        "follow_links",
        "embeddings",
        "shard",
        "ray",
        "figures",
    ),
    *("dated", "out", "resume", "force"),
}
# Keywords that are not called like the option's parameter; an empty name is every function's.
CALLED = {
    ("", "steps"): "denoising_steps",
    ("invert", "steps"): "learning_steps",
    ("", "invert_steps"): "learning_steps",
    ("draw", "prompt"): "prompts",
    ("synth", "out"): "directory",
    ("import_model", "lora"): "loras",
    ("import_model", "model_config"): "config",
    ("import_model", "weights_dtype"): "dtype",
}
SETS: dict[str, dict[str, str]] = {
    "score": calling.MEASURE,
    "Scorer": calling.MEASURE,
    "calibrate": measuring._CALIBRATE,
    "invert": parts._INVERT,
    "draw": calling.DRAWING,
    "detect": parts._DETECT,
    "synth": shapes._SYNTH,
    "train_vae": shapes._VAE,
    "train_unet": shapes._UNET,
    "train_transformer": shapes._TRANSFORMER,
    "train_detector": shapes._DETECTOR,
    "generalize": studies._GENERALIZE,
    "rarity": studies._RARITY,
    "fixed_location": studies._FIXED_LOCATION,
    "popularity": studies._POPULARITY,
    "doctor": setup._DOCTOR,
}
ROOT = Path(__file__).parents[1]
api: Any = origcli  # for calls that a type checker would refuse


@pytest.fixture
def tiny(tiny_bert_pipeline_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keywords of the least work; runs go under `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    return {"model": str(tiny_bert_pipeline_dir), "device": "cpu", "settings": TINY, "quiet": True}


def test_a_data_set_can_be_read_again_and_is_not_written_over(tmp_path: Path) -> None:
    data = synth(tmp_path / "data", count=3, settings=TINY, quiet=True)
    assert data.resolution == 32 and data.image(0).shape == (32, 32, 3)
    with pytest.raises(UsageError):
        synth(tmp_path / "data", count=5, settings=TINY, quiet=True)
    assert len(synth(tmp_path / "data", count=5, settings=TINY, force=True, quiet=True)) == 5


def test_tokens_are_learned_and_drawn(
    tiny: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = Image.new("RGB", (32, 32), "red")
    report = invert({"red": picture}, [2, 1], out=tmp_path / "run", **tiny)
    assert [tokens.m for tokens in report.results[0].tokens] == [1, 2]
    assert report.directory == tmp_path / "run"
    assert capfd.readouterr() == ("", "")
    file = report.directory / report.results[0].tokens[1].file
    drawings = draw("a photo of {S}", samples=2, embeddings=file, out="drawn", **{**tiny, "quiet": False})
    assert len(drawings) == 2 and drawings[0].mode == "RGB"
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.splitlines()[-1] == "draw: drawn"


@pytest.mark.parametrize("name", ["score", "detect", "invert", "calibrate"])
def test_a_report_says_what_a_folder_holds_besides(
    name: str, tiny: dict[str, Any], tmp_path: Path, pixel_metric: None
) -> None:
    folder = tmp_path / "art"
    folder.mkdir()
    for image in ("a", "b"):
        Image.new("RGB", (32, 32), "red").save(folder / f"{image}.png")
    (folder / "notes.txt").touch()
    words = {**tiny, "tokens": [1]} if name == "invert" else tiny
    if name == "detect":
        words = {key: value for key, value in tiny.items() if key != "model"}
    report = getattr(origcli, name)(folder, **words)
    assert [one.what for one in report.left_out] == ["1 file that is not an image: .txt"]


def test_a_score_is_the_report_of_the_command(
    tiny: dict[str, Any], tmp_path: Path, pixel_metric: None
) -> None:
    images = {"red <b>": Image.new("RGB", (32, 32), "red"), "broken": b"nothing"}
    report = score(images, max_tokens=2, groups=["x", "y"], threshold=0.1, samples=3, **tiny)
    assert report.schema_id == "origcli/score/1" and report.directory == Path("runs/score-2-images")
    (result,), (failure,) = report.results, report.errors
    assert (result.id, result.image.path, result.group) == ("red-b", "memory::red <b>", "x")
    assert failure.path == "memory::broken" and failure.code == "input"
    assert len(result.distances_0) == 3 and len(result.curve) == 2
    assert (report.directory / "report.html").is_file()

    page = report._repr_html_()
    assert page.count("<img ") == 1 + 2  # the image, and the nearest sample of each number of tokens
    assert page.count('src="data:image/') == page.count("<img ") and "http" not in page
    assert "memory::red &lt;b&gt;" in page and "<b>b" not in page and result.verdict.words[:20] in page
    assert "<img " not in report.at(tmp_path / "gone")._repr_html_()


def test_a_report_is_a_frame(
    tiny: dict[str, Any], pixel_metric: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    report = score([Image.new("RGB", (32, 32), "red"), b"nothing"], max_tokens=2, **tiny)
    frame = report.to_dataframe()
    assert list(frame.columns) == list(report.columns) and len(frame) == 3
    assert frame["id"].tolist()[:2] == ["image-1"] * 2 and frame["m"].tolist()[:2] == [1, 2]
    assert frame["distance"].dtype.kind == "f" and pandas.isna(frame["distance"].iloc[2])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="needs pandas") as caught:
        report.to_dataframe()
    assert caught.value.hint == "pip install pandas"


def test_a_scorer_opens_once_and_scores_many(
    tiny: dict[str, Any], tmp_path: Path, pixel_metric: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from origcli.scoring import setup as opening

    opened = count_calls(monkeypatch, opening, "open_model")
    red, blue = (Image.new("RGB", (32, 32), color) for color in ("red", "blue"))
    with Scorer(max_tokens=1, **tiny) as scorer:
        first = scorer(red, name="red", out=tmp_path / "first")
        both = scorer.many([red, blue], names=["red", "blue"], groups="x")
        with pytest.raises(InputError, match="memory::1"):
            scorer(b"nothing").result  # noqa: B018
        with pytest.raises(UsageError, match="first"):
            scorer(blue, out=tmp_path / "first")
    assert len(opened) == 1
    assert (first.directory, both.directory) == (tmp_path / "first", Path("runs/score-2-images"))
    assert [result.id for result in both.results] == ["red", "blue"]
    again = score({"red": red}, max_tokens=1, out=tmp_path / "again", **tiny)
    assert again.result == first.result
    assert (tmp_path / "again/report.json").read_bytes() == (tmp_path / "first/report.json").read_bytes()
    with pytest.raises(ValueError, match="is closed"):
        scorer(red)
    with pytest.raises(ValueError, match="a report of 2 images"):
        both.result  # noqa: B018


def state() -> dict[str, Any]:
    """What a program may have set for the whole process."""
    return {
        "threads": torch.get_num_threads(),
        "interop": torch.get_num_interop_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "debug mode": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32),
        "random": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "printed": (str(torch.tensor(0.123456789)), str(np.float64(1) / 3), str(np.array([1 / 3]))),
        "signal": __import__("signal").getsignal(2),
        "directory": Path.cwd(),
    }


def test_no_call_changes_the_state_of_torch(tiny: dict[str, Any], pixel_metric: None) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True, warn_only=True)
    red = Image.new("RGB", (32, 32), "red")
    try:
        with torch.no_grad():
            origcli.detect(red, settings=TINY, quiet=True)  # what libraries set when they are imported
            before = state()
            calls: dict[str, Callable[[], object]] = {
                "detect": lambda: origcli.detect(red, device="cpu", quiet=True),
                "invert": lambda: invert(red, [1], threads=1, **tiny),
                "draw": lambda: draw("a", threads=1, **tiny),
                "score": lambda: score(red, max_tokens=1, threads=1, **tiny),
                "doctor": lambda: origcli.doctor(model="shapes", device="cpu"),
            }
            for name, call in calls.items():
                call()
                assert state() == before, name
            scorer = Scorer(max_tokens=1, threads=1, **tiny)
            assert state() == before
            scorer(red)
            assert state() == before
            with pytest.raises(UsageError):
                score(red, max_tokens=1, out="runs", resume=False, **tiny)
            assert state() == before
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)


def test_models_are_calibrated_and_runs_compared(
    tiny: dict[str, Any], pixel_metric: None, tmp_path: Path
) -> None:
    captions = tmp_path / "captions.txt"
    words = ["red", "blue", "green", "big", "small", "cat", "dog", "sun", "sky", "sea"]
    captions.write_text("".join(f"a {word}\n" for word in words))
    report = calibrate(own_samples=2, controls=1, captions_file=captions, **tiny)
    found = report.results[0]
    assert (found.captions, found.samples, found.control_images) == (10, 2, 1)
    assert found.threshold.value is not None and report.directory == Path("runs/calibrate-bert")
    held_out = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    report = calibrate([*held_out, b"nothing"], out="held-out", **tiny)
    assert report.results[0].captions is None and [one.path for one in report.errors] == ["memory::3"]

    red = Image.new("RGB", (32, 32), "red")
    for steps in (2, 3):
        score(red, max_tokens=1, denoising_steps=steps, threshold=0.1, out=f"steps-{steps}", **tiny)
    compared = compare(["steps-2", "steps-3"])
    assert compared.results[0].differences[0].base == "bert (steps-2)"
    assert compared.directory == Path("runs/compare-steps-3")
    with pytest.raises(TypeError, match="give a list"):
        compare("steps-2")
    with pytest.raises(TypeError, match="score takes one model"):
        score(red, model=["a", "b"])  # type: ignore[arg-type]


def test_machines_are_checked_and_models_looked_up() -> None:
    found = origcli.doctor(model="shapes", device="cpu")
    assert found.ready and (found.model, found.device) == ("shapes", "cpu") and not found.missing
    assert {"python", "torch", "model shapes"} <= {check.name for check in found.checks}
    assert found.summary[:12] in found._repr_html_()
    with pytest.raises(UsageError, match="unknown model or metric 'sd51'"):
        origcli.fetch("sd51", offline=True)
    with pytest.raises(UsageError, match="unknown variant"):
        origcli.fetch("sd15", variant="fp32", offline=True)


def test_keywords_come_before_settings_and_these_before_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "origcli.toml"
    config.write_text("[score]\nsamples = 3\nmax_tokens = 3\nbootstrap = 3\n")
    monkeypatch.setenv("ORIGCLI_SCORE_SAMPLES", "4")
    monkeypatch.setenv("ORIGCLI_SCORE_MAX_TOKENS", "4")
    words: Any = {"config": config, "settings": {"score": {"samples": 5}}, "seed": 7, "preset": ("paper",)}
    found = Call.of("score", {**words, "samples": 6, "model": None}, {"samples": "score.samples"}).settings
    assert (found.score.samples, found.score.max_tokens, found.score.bootstrap) == (6, 4, 3)
    assert found.runtime.seed == 7 and found.invert.steps == 2000
    assert Call.of("score", words, {}).settings.score.samples == 5


def test_presets_are_named_as_the_option_names_them() -> None:
    assert settings_of({}, preset="paper").invert.steps == 2000
    assert (
        settings_of({}, preset="small,fast") == settings_of({}, preset=("small", "fast")) == settings_of({})
    )


def test_every_name_is_there_and_no_other() -> None:
    assert {*COMMANDS, "__version__"} == set(origcli.__all__) == set(dir(origcli))
    for name in origcli.__all__:
        assert getattr(origcli, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        origcli.nonsense  # noqa: B018


@pytest.mark.parametrize("name", COMMANDS)
def test_signatures_are_explicit_and_typed(name: str) -> None:
    signature = inspect.signature(getattr(origcli, name))
    for parameter in signature.parameters.values():
        assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        assert parameter.annotation is not parameter.empty, parameter.name
    documented = inspect.getdoc(getattr(origcli, name)) or ""
    assert "Args:" in documented or name == "Scorer"


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_options_of_a_command_are_keywords_that_set_the_same(name: str, command: str) -> None:
    bound = typer.main.get_command(app).commands[command].callback  # type: ignore[attr-defined]
    keywords = inspect.signature(getattr(origcli, name)).parameters
    sets = {**RUNTIME, **SETS.get(name, {})}
    for option in inspect.signature(bound).parameters:
        word = CALLED.get((name, option), CALLED.get(("", option), option))
        if {option, f"{name}.{option}"} & OF_THE_TERMINAL or (name == "Scorer" and option in OF_A_LIST):
            continue
        assert word in keywords, option
        if option in bound.bindings.sets:
            assert sets.get(word) == bound.bindings.sets[option].setting, option


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: api.score("a.png", sampels=3), r"score\(\) has no keyword 'sampels': did you mean 'samples"),
        (lambda: api.Scorer("shapes", max_token=3), "has no keyword 'max_token': did you mean 'max_tokens'"),
        (lambda: api.draw("a", images=3), "'images': it is called 'samples' now"),
        (lambda: api.invert("a.png", modle="shapes"), "did you mean 'model'"),
        (lambda: api.rarity(querys=2), "did you mean 'queries'"),
    ],
)
def test_a_misspelt_keyword_is_told(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"settings": {"scor": {"samples": 2}}}, "unknown section 'scor'"),
        ({"settings": {"score": {"imags": 2}}}, "has no 'imags'"),
        ({"preset": "papr"}, "unknown preset 'papr'"),
        ({"given": {"score.crop": "centre"}}, "did you mean 'center'"),
    ],
)
def test_a_misspelt_setting_is_told(words: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(**{"given": {}, **words})
    assert message in f"{caught.value.message} {caught.value.hint}"


def test_completion_knows_keywords_and_results() -> None:
    jedi = pytest.importorskip("jedi")

    def completed(source: str, line: str) -> set[str]:
        script = jedi.Script(f"{source}\n{line}", path="notebook.py", project=jedi.Project(ROOT))
        return {
            one.name_with_symbols for one in script.complete(line=source.count("\n") + 2, column=len(line))
        }

    assert {"samples=", "seed=", "denoising_steps=", "quiet="} <= completed(
        "import origcli", "origcli.score('a.png', "
    )
    assert {"samples=", "seed="} <= completed("from origcli import Scorer", "Scorer(")
    report = {"results", "errors", "result", "directory", "to_dataframe", "rows"}
    assert report <= completed("from origcli import score", "score('a.png').")
    assert report <= completed("from origcli import Scorer\nscorer = Scorer('shapes')", "scorer('a.png').")
    assert "originality" in completed("from origcli import score", "score('a.png').result.")
    assert "value" in completed("from origcli import score", "score('a.png').result.originality.")

    given = {"report": samples.report(samples.result(None))}
    live = jedi.Interpreter("report.results[0].", [given]).complete(1, len("report.results[0]."))
    shown = [one.name for one in live if not one.name.startswith("_")]
    assert {"originality", "verdict", "to_json"} <= set(shown) and not {"dict", "parse_obj"} & set(shown)


def test_completion_of_a_report_shows_its_own_names() -> None:
    names = {name for name in dir(samples.report(samples.result(None))) if not name.startswith("_")}
    assert {"results", "errors", "to_json", "to_dataframe", "directory", "rows"} <= names
    assert not names & {"dict", "json", "copy", "parse_obj", "construct", "schema", "from_orm", "validate"}
    assert not {name for name in names if name.startswith("model_")} - {"model_copy", "model_dump"}


def test_other_addresses_are_refused_by_name_and_show_no_password() -> None:
    with pytest.raises(InputError, match="only http and https addresses") as caught:
        origcli.detect("s3://me:secret@bucket/a.png")
    assert "secret" not in f"{caught.value}{caught.value.message}" and "download" in caught.value.hint
