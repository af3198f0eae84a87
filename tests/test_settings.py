"""Flag before environment before file before preset, and every mistake named."""

from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError, UsageError
from origcli.settings import Settings, fields_of, resolve, variables_of


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "origcli.toml"
    path.write_text("[score]\nsamples = 11\nmax_tokens = 3\n[runtime]\nseed = 5\n")
    return path


def test_precedence(config: Path) -> None:
    layers: list[dict[str, Any]] = [
        {},
        {"config": config},
        {"config": config, "environment": {"ORIGCLI_SCORE_SAMPLES": "12"}},
        {
            "config": config,
            "environment": {"ORIGCLI_SCORE_SAMPLES": "12"},
            "flags": {"score": {"samples": 13}},
        },
    ]
    found = []
    for layer in layers:
        settings, origins = resolve(**{"environment": {}, **layer})
        found.append((settings.score.samples, origins["score.samples"]))
    assert found == [
        (20, "preset paper"),
        (11, f"--config {config}"),
        (12, "environment"),
        (13, "flag"),
    ]


def test_each_setting_is_taken_by_itself(config: Path) -> None:
    flags = {"score": {"samples": 13, "max_tokens": None}}
    settings, origins = resolve(flags, config=config, environment={})
    assert (settings.score.samples, settings.score.max_tokens, settings.runtime.seed) == (13, 3, 5)
    assert origins["score.max_tokens"] == f"--config {config}", "a flag that is not given is None"
    assert origins["runtime.dtype"] == "default"


def test_presets_are_layered_on_the_paper() -> None:
    paper, _ = resolve(presets=("paper",), environment={})
    usual, origins = resolve(environment={})
    assert paper.invert.steps == 2000 and usual.invert.steps < 2000
    assert origins["invert.steps"] == "preset fast" and origins["synth.resolution"] == "preset small"
    assert resolve(presets=("small", "fast"), environment={})[0] == usual
    fast, _ = resolve(presets=("fast",), environment={})
    assert fast.invert == usual.invert and fast.vae == paper.vae


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("ORIGCLI_DEVICE", "cpu", "runtime.device", "cpu"),
        ("ORIGCLI_RUNTIME_DEVICE", "cpu", "runtime.device", "cpu"),
        ("ORIGCLI_COMPILE", "true", "runtime.compile", True),
        ("ORIGCLI_COMPILE", "1", "runtime.compile", True),
        ("ORIGCLI_OFFLINE", "yes", "runtime.offline", True),
        ("ORIGCLI_THREADS", "4", "runtime.threads", 4),
        ("ORIGCLI_SCORE_MODEL", "1234", "score.model", "1234"),
        ("ORIGCLI_SCORE_MODEL", "./a b", "score.model", "./a b"),
        ("ORIGCLI_VAE_CHANNELS", "[8, 16]", "vae.channels", (8, 16)),
        ("ORIGCLI_UNET_LEARNING_RATE", "1e-4", "unet.learning_rate", 1e-4),
    ],
)
def test_variables(variable: str, text: str, setting: str, value: Any) -> None:
    settings, origins = resolve(environment={variable: text})
    section, field = setting.split(".")
    assert getattr(getattr(settings, section), field) == value
    assert origins[setting] == "environment"


def test_every_setting_has_a_variable_of_its_own() -> None:
    names = [v for s in Settings.model_fields for f in fields_of(s) for v in variables_of(s, f)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("sources", "message", "hint"),
    [
        ({"presets": ("papr",)}, "'papr'", "did you mean 'paper'?"),
        ({"presets": ("",)}, "''", "choose from paper, small, fast"),
        ({"environment": {"ORIGCLI_SCORE_SAMPLE": "1"}}, "ORIGCLI_SCORE_SAMPLE", "'ORIGCLI_SCORE_SAMPLES'"),
        ({"environment": {"ORIGCLI_SCORE_SAMPLES": "x"}}, r"score\.samples = 'x' \(environment\)", ""),
        ({"flags": {"score": {"samples": 0}}}, r"score\.samples = 0 \(flag\): .*greater than", ""),
        ({"flags": {"runtime": {"dtype": "fp8"}}}, r"runtime\.dtype = 'fp8' \(flag\): .*'bf16'", ""),
        ({"flags": {"synth": {"mixture": "unifrm"}}}, r"synth\.mixture = 'unifrm'", "mean 'uniform'?"),
        ({"flags": {"score": {"sampls": 2}}}, r"\[score\] has no 'sampls'", "did you mean 'samples'?"),
        ({"flags": {"scor": {"samples": 2}}}, r"unknown section 'scor'", "did you mean 'score'?"),
        ({"flags": {"vae": {"learning_rate": float("nan")}}}, r"vae\.learning_rate = nan", ""),
        ({"flags": {"vae": {"learning_rate": float("inf")}}}, r"vae\.learning_rate = inf", ""),
    ],
)
def test_mistakes_are_named(sources: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        resolve(**{"environment": {}, **sources})
    assert hint in caught.value.hint and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[scor]\nsamples = 1", r"unknown section \[scor\]", "did you mean 'score'?"),
        ("score = 3", r"unknown section \[score\]", ""),
        ("[score]\nsample = 1", r"\[score\] has no 'sample'", "did you mean 'samples'?"),
        ("[score]\nsamples = 'many'", r"score\.samples = 'many' \(--config .*origcli\.toml\)", ""),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    (tmp_path / "origcli.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        resolve(config=tmp_path / "origcli.toml", environment={})
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("vae", {"channels": ()}, r"vae\.channels = \(\) \(flag\): .*at least 1 item"),
        ("draw", {"steps": "few"}, r"draw\.steps = 'few' \(flag\): should be a valid integer or 'auto'"),
        ("unet", {"channels": (96, 0)}, r"unet\.channels\.1 = 0 \(flag\): should be greater"),
        ("vae", {"channels": (8, 12), "norm_groups": 8}, "norm_groups = 8 .*does not divide 12"),
        ("unet", {"channels": (96, 160), "norm_groups": 48}, "norm_groups = 48 .*does not divide 160"),
        ("text_encoder", {"width": 20, "heads": 3}, r"heads = 3 \(flag\): .*does not divide 20"),
    ],
)
def test_shapes_that_no_network_has_are_told(section: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve({section: values}, environment={})


@pytest.mark.parametrize("content", [None, b"[score", b"\xff\xfa", b"a = " + b"[" * 50_000])
def test_a_file_that_cannot_be_read_is_bad_input(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "origcli.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"origcli\.toml") as caught:
        resolve(config=tmp_path / "origcli.toml", environment={})
    assert caught.value.exit_code == 3


def test_former_names_are_accepted_wherever_a_setting_is_given(tmp_path: Path) -> None:
    path = tmp_path / "origcli.toml"
    path.write_text("[score]\nimages = 11\nceiling_images = 5\n")
    variable = {"ORIGCLI_SCORE_IMAGES": "12"}
    of_file, origins = resolve(config=path, environment={})
    assert (of_file.score.samples, of_file.score.ceiling_samples) == (11, 5)
    assert origins["score.samples"] == f"--config {path}"
    assert resolve(config=path, environment=variable)[0].score.samples == 12
    assert resolve({"score": {"images": 13}}, environment=variable)[0].score.samples == 13


def test_a_setting_under_both_of_its_names_is_refused() -> None:
    both = {"ORIGCLI_SCORE_IMAGES": "12", "ORIGCLI_SCORE_SAMPLES": "3"}
    with pytest.raises(UsageError, match=r"score\.samples is set twice: images is its former name"):
        resolve(environment=both)


def test_settings_cannot_be_changed() -> None:
    settings, _ = resolve(environment={})
    with pytest.raises(Exception, match="frozen"):
        settings.score.samples = 3  # type: ignore[misc]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_any_editor_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes("[score]\r\nsamples = 7\r\n".encode(encoding))
    assert resolve(config=path, environment={})[0].score.samples == 7


def test_empty_variables_count_as_not_set() -> None:
    usual = resolve(environment={})[0]
    names = [name for section, table in usual for field in type(table).model_fields
             for name in variables_of(section, field)]  # fmt: skip
    for text in ("", " "):
        settings, origins = resolve(environment=dict.fromkeys([*names, "ORIGCLI_OF_TOMORROW"], text))
        assert settings == usual and "environment" not in origins.values()


def test_home_directories_are_found_wherever_a_path_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "mine.toml"
    path.write_text('[score]\ndetector = "~/d"\n')
    environment = {"ORIGCLI_SCORE_REFERENCE": "~/r.json"}
    settings, _ = resolve({"score": {"model": "~/m"}}, config=path, environment=environment)
    score = settings.score
    assert (score.detector, score.reference, score.model) == ("/home/me/d", "/home/me/r.json", "/home/me/m")
