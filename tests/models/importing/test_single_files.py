"""Single files of the original layout: every tensor arrives, and nothing else does."""

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from origcli.errors import ModelError, UsageError
from origcli.models.importing import build
from origcli.models.importing.build import Request, run
from origcli.models.importing.configurations import prediction_scheduler, write_configuration
from origcli.models.importing.parts import frame, read_index
from origcli.models.opening import open_model
from origcli.models.pipeline import load_pipeline
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_file
from tests.hub_server import Repository, hub_server, point_to
from tests.models.importing.conftest import Import, Listener
from tests.single_files import original_layout, original_vae, stored, write_single_file


def same(one: Path, other: Path) -> bool:
    a, b = stored(one), stored(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Whoever opens a connection fails."""

    def refuse(*words: object) -> None:
        raise AssertionError("the network was asked")

    if "hub" not in request.node.name:
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("family", ["sd", "xl"])
def test_all_tensors_arrive(family: str, bring: Import, tmp_path: Path, request: Any) -> None:
    directory, file = (request.getfixturevalue(f"{family}_{kind}") for kind in ("dir", "file"))
    source = bring(file, config=directory)
    assert same(directory, tmp_path / "out")
    assert source["base"]["sha256"] == hash_file(file)
    assert source == json.loads((tmp_path / "out" / "source.json").read_text("utf-8"))
    kind = StableDiffusionPipeline if family == "sd" else StableDiffusionXLPipeline
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert isinstance(pipeline, kind)
    theirs = kind.from_single_file(str(file), config=str(directory), local_files_only=True)
    for part in ("unet", "vae", "text_encoder"):
        ours, wanted = getattr(pipeline, part).state_dict(), getattr(theirs, part).state_dict()
        assert ours.keys() == wanted.keys()
        assert all(torch.equal(ours[name], wanted[name]) for name in ours)


@pytest.mark.parametrize("family", ["sd", "xl"])
def test_the_result_opens_with_the_door_of_all_commands(
    family: str, bring: Import, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    directory, file = (request.getfixturevalue(f"{family}_{kind}") for kind in ("dir", "file"))
    source = bring(file, config=directory)
    entry, model = open_model(str(tmp_path / "out"), Runtime())
    assert model.weights_hash == source["weights_hash"] is not None
    assert entry.path == tmp_path / "out"


def test_types(bring: Import, sd_file: Path, sd_dir: Path, tmp_path: Path, sd_parts: dict[str, Any]) -> None:
    bring(sd_file, "half", config=sd_dir, dtype="fp16")
    assert {tensor.dtype for tensor in stored(tmp_path / "half").values()} == {torch.float16}
    small = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in original_layout(sd_parts).items()}
    save_file({name: tensor.contiguous() for name, tensor in small.items()}, tmp_path / "f8.safetensors")
    bring(tmp_path / "f8.safetensors", "eight", config=sd_dir)
    assert {tensor.dtype for tensor in stored(tmp_path / "eight").values()} == {torch.float16}
    with pytest.raises(UsageError, match="fp64"):
        bring(sd_file, "x", config=sd_dir, dtype="fp64")


def test_what_lies_in_many_files_is_left_out_and_the_rest_is_named(
    bring: Import, listener: Listener, sd_parts: dict[str, Any], sd_dir: Path, tmp_path: Path
) -> None:
    beside = {
        **{name: torch.zeros(3) for name in ("betas", "alphas_cumprod", "sqrt_recip_alphas_cumprod")},
        "model_ema.decay": torch.zeros(1),
        "first_stage_model.loss.logvar": torch.zeros(1),
        "some.notes": torch.zeros(1),
    }
    file = write_single_file(tmp_path / "full.safetensors", sd_parts, beside)
    source = bring(file, config=sd_dir)
    assert source["base"]["unused"] == ["some.notes"]
    assert any("some.notes" in remark for remark in listener.said)
    assert same(sd_dir, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.diffusion_model.extra.weight": torch.zeros(2)}, "no place"),
        ({"first_stage_model.encoder.extra": torch.zeros(2)}, "no place"),
        ({"model.diffusion_model.out.2.bias": torch.zeros(5)}, r"\[5\], expected \[4\]"),
        ({"model.diffusion_model.out.2.bias": None}, "1 tensors missing, e.g. conv_out.bias"),
        ({"model.diffusion_model.out.2.bias": torch.full((4,), torch.nan)}, "not finite"),
    ],
)
@pytest.mark.fault(22, "a single file is refused before its weights are read, and the last import stays")
def test_what_does_not_fit_is_refused(
    change: dict[str, Any], message: str, bring: Import, sd_file: Path, sd_dir: Path, tmp_path: Path
) -> None:
    tensors = {**load_file(sd_file), **change}
    save_file({k: v for k, v in tensors.items() if v is not None}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=message):
        bring(tmp_path / "odd.safetensors", config=sd_dir)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_markers_set_the_scheduler(
    bring: Import,
    sd_parts: dict[str, Any],
    xl_parts: dict[str, Any],
    sd_dir: Path,
    xl_dir: Path,
    tmp_path: Path,
) -> None:
    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    cases = (("sd", sd_parts, sd_dir, "DDIMScheduler"), ("xl", xl_parts, xl_dir, "EulerDiscreteScheduler"))
    for name, parts, directory, kind in cases:
        bring(write_single_file(tmp_path / f"{name}.safetensors", parts, marks), name, config=directory)
        scheduler = DiffusionPipeline.from_pretrained(tmp_path / name).scheduler
        assert type(scheduler).__name__ == kind
        assert scheduler.config.prediction_type == "v_prediction"
        assert scheduler.config.rescale_betas_zero_snr
        assert scheduler.config.timestep_spacing == "trailing"
        assert scheduler.config.beta_schedule == "scaled_linear"


def test_metadata_and_the_user_say_what_is_predicted(
    bring: Import, sd_parts: dict[str, Any], sd_dir: Path, tmp_path: Path
) -> None:
    file = write_single_file(tmp_path / "v.safetensors", sd_parts, {}, **{"modelspec.prediction_type": "v"})
    for out, options, wanted in (("v", {}, "v_prediction"), ("e", {"prediction": "epsilon"}, "epsilon")):
        bring(file, out, config=sd_dir, **options)
        assert load_pipeline(tmp_path / out, Runtime()).noising.prediction == wanted


def test_another_vae(
    bring: Import, sd_file: Path, sd_dir: Path, xl_dir: Path, sd_parts: dict[str, Any], tmp_path: Path
) -> None:
    vae = {name: tensor + 1 for name, tensor in original_vae(sd_parts["vae"], "").items()}
    save_file({name: tensor.contiguous() for name, tensor in vae.items()}, tmp_path / "vae.safetensors")
    plain = {name: tensor + 1 for name, tensor in sd_parts["vae"].state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in plain.items()}, tmp_path / "plain.safetensors")
    source = bring(sd_file, "a", config=sd_dir, vae=str(tmp_path / "vae.safetensors"))
    assert source["vae"]["sha256"] == hash_file(tmp_path / "vae.safetensors")
    bring(sd_dir, "b", vae=str(tmp_path / "plain.safetensors"))
    bring(sd_dir, "c", vae=str(tmp_path / "a"))
    bring(sd_dir, "d", vae=str(tmp_path / "a" / "vae"))
    before = stored(sd_dir)
    for name in "abcd":
        for key, tensor in stored(tmp_path / name).items():
            assert torch.equal(tensor, before[key] + 1 if key.startswith("vae.") else before[key])
    with pytest.raises(ModelError, match=r"scaling_factor is 0.13025, that of .* is 0.18215"):
        bring(sd_file, "e", config=sd_dir, vae=str(xl_dir))
    bare = {k: v for k, v in load_file(sd_file).items() if not k.startswith("first_stage_model.")}
    save_file(bare, tmp_path / "bare.safetensors")
    with pytest.raises(ModelError, match="without its VAE"):
        bring(tmp_path / "bare.safetensors", "f", config=sd_dir)
    bring(tmp_path / "bare.safetensors", "f", config=sd_dir, vae=str(sd_dir))
    assert same(tmp_path / "f", sd_dir)


def test_what_is_there_is_kept(bring: Import, sd_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(UsageError, match="no import wrote it"):
            bring(sd_dir, force=force)
    bring(sd_dir, "made")
    with pytest.raises(UsageError, match="not empty"):
        bring(sd_dir, "made")
    bring(sd_dir, "made", force=True, dtype="fp16")
    assert {tensor.dtype for tensor in stored(tmp_path / "made").values()} == {torch.float16}
    with pytest.raises(UsageError, match="would remove"):
        bring(tmp_path / "made", "made", force=True)


def test_a_failed_import_leaves_the_last_one(
    bring: Import, sd_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(sd_dir)
    before = stored(tmp_path / "out")

    def full(*words: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.CLIPTextModel.save_pretrained", full)
    with pytest.raises(Exception, match="No space left"):
        bring(sd_dir, force=True, dtype="fp16")
    after = stored(tmp_path / "out")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not list(tmp_path.glob(".out*"))


def test_a_configuration_of_the_hub(
    sd_file: Path, sd_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with hub_server({"someone/narrow": Repository.of(sd_dir)}) as hub:
        point_to(monkeypatch, hub.url)
        request = Request(str(sd_file), tmp_path / "a", config="someone/narrow")
        run(request, Runtime())
        assert same(tmp_path / "a", sd_dir)
        assert not hub.downloads(".safetensors")
        hub.requests.clear()
        run(replace(request, out=tmp_path / "b"), Runtime(offline=True))
        assert not hub.requests


def test_which_stable_diffusion_2_is_measured(
    bring: Import,
    listener: Listener,
    sd_dir: Path,
    sd_parts: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = write_single_file(tmp_path / "two.safetensors", {**sd_parts, "open_clip": True})
    v_dir = tmp_path / "v"
    shutil.copytree(sd_dir, v_dir)
    prediction_scheduler(v_dir, "v_prediction", False)
    directories = {"sd21": v_dir, "sd21-base": sd_dir}
    monkeypatch.setattr(build, "_configuration", lambda name, *rest: directories[name])
    for answer, name, prediction in ((0.9, "sd21-base", "epsilon"), (0.1, "sd21", "v_prediction")):
        monkeypatch.setattr(build, "correlation_with_noise", lambda unet, answer=answer: answer)
        source = bring(file, name)
        assert source["base"]["configuration"] == name
        assert source["base"]["correlation_with_noise"] == answer
        assert name in listener.said[-1]
        assert load_pipeline(tmp_path / name, Runtime()).noising.prediction == prediction
        assert same(tmp_path / name, sd_dir)


@pytest.mark.slow
def test_a_file_of_real_size(bring: Import, tmp_path: Path) -> None:
    directory = write_configuration("sd15", tmp_path / "configuration")
    parts = {}
    generator = torch.Generator().manual_seed(0)
    for part, names in read_index(directory).networks.items():
        network = frame(directory, part, *names)
        numbers = {
            name: torch.randint(0, 2**14, tensor.shape, dtype=torch.int16, generator=generator).view(
                torch.float16
            )
            for name, tensor in network.state_dict().items()
        }
        halves = {name: bits.view(torch.float16) for name, bits in numbers.items()}
        network.load_state_dict(halves, assign=True)
        parts[part] = network
    source = bring(write_single_file(tmp_path / "m.safetensors", parts))
    assert source["base"]["kind"] == "Stable Diffusion 1"
    for part, network in parts.items():
        found = load_file(next((tmp_path / "out" / part).glob("*.safetensors")))
        wanted = network.state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_configurations_are_for_single_files(bring: Import, sd_dir: Path, sd_file: Path) -> None:
    with pytest.raises(UsageError, match="configuration already"):
        bring(sd_dir, config="sd15")
    with pytest.raises(UsageError, match="unknown configuration"):
        bring(sd_file, config="sdxxl")
    with pytest.raises(ModelError, match=r"--config|offline"):
        bring(sd_file, config="someone/their-model")
    with pytest.raises(ModelError, match="tensors missing") as refused:
        bring(sd_file)  # with the published widths
    assert "--config" in refused.value.hint
