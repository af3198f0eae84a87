"""train-vae and train-unet from a data set to a pipeline directory, at toy size."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file
from transformers import BertModel

from origcli.errors import InputError, ModelError, UsageError
from origcli.inversion.templates import read_templates
from origcli.models.checkpoints import checkpoints, load_checkpoint
from origcli.models.text_encoder import build_bert_config, build_tokenizer
from origcli.models.vae import encode_moments, load_vae, to_pixels
from origcli.runtime.cache import working_directory
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.provenance import hash_file
from origcli.scenes.dataset import Dataset, read_dataset
from origcli.scenes.mixtures import Recipe
from origcli.scenes.png import encode_png
from origcli.scenes.writing import write_dataset
from origcli.settings import Settings, resolve
from origcli.training import denoising, features, unet, vae
from origcli.training.captions import ways_to_put
from tests.hub_server import Repository, hub_server, point_to


def test_a_vae_run_reports_on_held_out_pictures(vae_run: Path) -> None:
    report = json.loads((vae_run / "report.json").read_text())
    result = report["results"][0]
    assert (report["schema"], result["stage"], result["steps"]) == ("origcli/train-vae/1", "vae", 5)
    assert 0 < result["metrics"]["psnr_db"]["value"] < 60
    assert -1 <= result["metrics"]["ssim"]["value"] <= 1
    assert [path.name for path in sorted(vae_run.glob("reconstructions*"))] == [
        "reconstructions-00000003.png",  # of the step that it is named after
        "reconstructions.png",
    ]
    for path in vae_run.glob("reconstructions*"):
        with Image.open(path) as sheet:
            assert sheet.width > 4 * 64
    assert (vae_run / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_its_latents_are_normalised(vae_run: Path, tiny_dataset: Dataset) -> None:
    model = load_vae(vae_run)
    mean, std = vae.latent_statistics(model, tiny_dataset, range(54), Runtime())
    assert torch.allclose(mean, torch.zeros(4), atol=0.02) and torch.allclose(std, torch.ones(4), atol=0.02)


def test_a_trained_pipeline_draws_with_diffusers_alone(unet_run: Path) -> None:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(unet_run / "pipeline", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("big red full circle", num_inference_steps=2).images[0]
    assert image.size == (32, 32)
    assert pipeline.text_encoder.config.use_attention_mask
    assert pipeline.tokenizer.model_max_length == 40


def test_a_unet_run_reports_and_shows_samples(unet_run: Path) -> None:
    result = json.loads((unet_run / "report.json").read_text())["results"][0]
    assert result["metrics"]["held_out_loss"]["value"] > 0
    names = {path.name for path in unet_run.glob("*.png")}
    assert names == {"samples.png", "samples-00000003.png", "loss.png"}


def test_a_unet_can_start_from_one_that_read_a_text_encoder_of_another_width(
    unet_run: Path, tiny_settings: Settings
) -> None:
    from diffusers import UNet2DConditionModel

    start = UNet2DConditionModel.from_pretrained(unet_run / "pipeline/unet").state_dict()
    shape = (4, 16, 16)
    began = unet.initial_unet(tiny_settings.unet, shape, 24, 0, unet_run / "pipeline").state_dict()
    new = unet.initial_unet(tiny_settings.unet, shape, 24, 0, None).state_dict()
    of_text = [name for name in start if ".attn2.to_k" in name or ".attn2.to_v" in name]
    assert len(of_text) >= 4
    for name, weight in began.items():
        assert torch.equal(weight, (new if name in of_text else start)[name]), name
    wider = tiny_settings.unet.model_copy(update={"channels": (8, 24)})
    with pytest.raises(ModelError, match="another shape"):
        unet.initial_unet(wider, shape, 16, 0, unet_run / "pipeline")


def test_a_start_that_is_no_such_network_is_named(
    vae_run: Path, unet_run: Path, tiny_settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="no UNet is here"):
        unet.initial_unet(tiny_settings.unet, (4, 16, 16), 16, 0, tmp_path)
    with pytest.raises(ModelError, match="UNet"):  # a VAE
        unet.initial_unet(tiny_settings.unet, (4, 16, 16), 16, 0, vae_run / "vae")
    with pytest.raises(ModelError, match="no VAE is here"):
        vae.initial_vae(tiny_settings.vae, 32, 0, tmp_path)
    wider = tiny_settings.vae.model_copy(update={"channels": (8, 12)})
    with pytest.raises(ModelError, match="another shape"):
        vae.initial_vae(wider, 32, 0, vae_run)
    same = vae.initial_vae(tiny_settings.vae, 32, 0, unet_run / "pipeline").state_dict()
    assert all(torch.equal(same[name], weight) for name, weight in load_vae(vae_run).state_dict().items())


def test_the_bundled_text_encoder_is_taken_by_its_name(tiny_settings: Settings) -> None:
    bundled = tiny_settings.text_encoder.model_copy(update={"source": "shapes", "max_length": 77})
    settings = tiny_settings.model_copy(update={"text_encoder": bundled})
    encoder, tokenizer = unet.open_text_encoder([], settings, Runtime(offline=True), resume=False)
    assert encoder.config.max_position_embeddings == tokenizer.model_max_length
    assert tokenizer.unk_token_id not in tokenizer("a photo of big red full circle")["input_ids"]


def test_the_caption_bert_reads_captions_as_often_as_the_pictures_have_them(
    tmp_path: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(unet, "pretrain", lambda captions, *given, resume: seen.append(list(captions)))
    captions = ("a circle", "", "a square", "a circle")
    with open_runtime(tiny_settings.runtime, tmp_path / "run") as runtime:
        unet.open_text_encoder(captions, tiny_settings, runtime, resume=False)
    assert seen == [["a circle", "a square", "a circle"]]


def test_the_bert_of_the_supplement_comes_from_the_pinned_commit(
    tmp_path: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from origcli.weights.registry import COMPANIONS

    own = tiny_settings.text_encoder
    tokenizer = build_tokenizer(["big red full circle"], own.max_length)
    BertModel(build_bert_config(own, len(tokenizer))).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    bert = COMPANIONS["bert"]
    paper = own.model_copy(update={"source": bert.id})
    settings = tiny_settings.model_copy(update={"text_encoder": paper})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with hub_server({bert.id: Repository.of(tmp_path / "bert", bert.revision)}) as server:
        point_to(monkeypatch, server.url)
        encoder, words = unet.open_text_encoder([], settings, Runtime(), resume=False)
        assert any(bert.revision in request for request in server.requests)
        assert not any("/main/" in request for request in server.requests)
        asked = len(server.requests)
        again, _ = unet.open_text_encoder([], settings, Runtime(offline=True), resume=False)
        assert len(server.requests) == asked
    assert torch.equal(encoder.embeddings.word_embeddings.weight, again.embeddings.word_embeddings.weight)
    assert not encoder.training and words.model_max_length == own.max_length
    encoder.save_pretrained(tmp_path / "saved")
    words.save_pretrained(tmp_path / "saved")
    for path in (tmp_path / "saved").glob("*.json"):  # where it lay is no part of the model
        assert str(tmp_path) not in path.read_text(), path.name


def test_the_bert_of_the_supplement_is_asked_for_by_a_command_that_can_fetch_it(
    tmp_path: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    paper = tiny_settings.text_encoder.model_copy(update={"source": "google-bert/bert-base-uncased"})
    settings = tiny_settings.model_copy(update={"text_encoder": paper})
    with pytest.raises(ModelError) as caught:
        unet.open_text_encoder([], settings, Runtime(offline=True), resume=False)
    assert caught.value.hint.endswith("origcli fetch bert")


def test_the_caption_bert_knows_every_word_of_captions_and_templates(unet_run: Path) -> None:
    from origcli.models.text_encoder import load_bert

    _, tokenizer = load_bert(
        unet_run / "text_encoder/text_encoder", 40, tokenizer=unet_run / "text_encoder/tokenizer"
    )
    for text in ("big red full circle and small blue empty star", *read_templates("object")):
        assert tokenizer.unk_token_id not in tokenizer(text.replace("{S}", "thing"))["input_ids"]


def test_captions_go_round_the_templates_that_they_fit_into() -> None:
    templates = ["{S}", "a photo of {S}", *read_templates("object")]
    captions = ["", "big red full circle", *[f"{color} star" for color in ("red", "green", "blue")] * 3]
    tokenizer = build_tokenizer([*captions, *templates], 12)
    ways = ways_to_put(captions, templates, tokenizer)
    assert ways.shape == (11, 5) and (ways[:, 0] == 0).all() and (ways[:, 1] == 1).all()
    assert set(ways[:, 2:].flat) == set(range(2, 29))
    short = build_tokenizer([*captions, *templates], 7)  # a caption fits, in a template it does not
    assert (ways_to_put(captions, templates, short)[1] == 0).all()
    assert ways_to_put(captions, templates, short)[2].tolist()[:2] == [0, 1]


def test_the_decoder_alone_leaves_the_latents(
    tmp_path: Path, tiny_dataset: Dataset, tiny_settings: Settings, vae_run: Path
) -> None:
    own = tiny_settings.vae.model_copy(update={"freeze_encoder": True})
    settings = tiny_settings.model_copy(update={"vae": own})
    with open_runtime(settings.runtime, tmp_path / "decoder") as runtime:
        vae.run(tiny_dataset.path, settings, runtime, init_from=vae_run / "vae")
    assert "_name_or_path" not in (tmp_path / "decoder/vae/config.json").read_text()
    notes = json.loads((tmp_path / "decoder/report.json").read_text())["provenance"]["notes"]
    assert notes == [f"the weights started from {vae_run / 'vae'}"]
    before, after = load_vae(vae_run), load_vae(tmp_path / "decoder")
    pixels = to_pixels(tiny_dataset.images(range(3)))
    assert torch.equal(encode_moments(before, pixels)[0], encode_moments(after, pixels)[0])
    assert not torch.equal(before.decoder.conv_in.weight, after.decoder.conv_in.weight)
    with (
        open_runtime(settings.runtime, tmp_path / "none") as runtime,
        pytest.raises(UsageError, match="keep"),
    ):
        vae.run(tiny_dataset.path, settings, runtime)


def test_features_are_computed_once_and_stay_exact(
    tiny_dataset: Dataset, vae_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_vae(vae_run)
    rows = features.latent_moments(model, tiny_dataset, 10, Runtime())
    mean, std = encode_moments(model, to_pixels(tiny_dataset.images(range(10))))
    assert np.allclose(rows[:, 0], mean, atol=1e-5) and np.allclose(rows[:, 1], std, atol=1e-5)
    monkeypatch.setattr(features, "encode_moments", lambda *_: pytest.fail("computed twice"))
    assert np.array_equal(features.latent_moments(model, tiny_dataset, 10, Runtime()), rows)
    assert not rows.flags.writeable


@pytest.mark.fault(22, "features that are damaged in the cache are computed again")
@pytest.mark.parametrize("left", [0, 40, 200])
def test_damaged_features_are_computed_anew(tiny_dataset: Dataset, vae_run: Path, left: int) -> None:
    model = load_vae(vae_run)
    rows = np.array(features.latent_moments(model, tiny_dataset, 10, Runtime()))
    (kept,) = working_directory("features").glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:left])
    assert np.array_equal(features.latent_moments(model, tiny_dataset, 10, Runtime()), rows)


@pytest.mark.fault(63, "so do features of training images")
def test_features_with_a_flipped_bit_are_computed_again(tiny_dataset: Dataset, vae_run: Path) -> None:
    model = load_vae(vae_run)
    rows = np.array(features.latent_moments(model, tiny_dataset, 10, Runtime()))
    (kept,) = working_directory("features").glob("*.npy")
    data = bytearray(kept.read_bytes())
    data[-3] ^= 1
    kept.write_bytes(data)
    assert np.array_equal(features.latent_moments(model, tiny_dataset, 10, Runtime()), rows)


def test_pictures_that_were_exchanged_have_other_latents(
    tmp_path: Path, tiny_dataset: Dataset, vae_run: Path
) -> None:
    """dataset.json says the same of both."""
    model = load_vae(vae_run)
    rows = features.latent_moments(model, tiny_dataset, 10, Runtime())
    data = read_dataset(shutil.copytree(tiny_dataset.path, tmp_path / "data"))
    assert data.hash == tiny_dataset.hash and data.pictures_hash == tiny_dataset.pictures_hash
    changed = read_dataset(data.path)
    place = data.path / data.records[3]["file_name"]
    place.write_bytes(encode_png(255 - data.image(3)))
    assert changed.hash == data.hash and changed.pictures_hash != data.pictures_hash
    others = features.latent_moments(model, changed, 10, Runtime())
    assert not np.array_equal(others[3], rows[3]) and np.array_equal(others[4:], rows[4:])


@pytest.mark.fault(14, "what measures a trained model halves its batch, too, and measures the same")
def test_measuring_in_little_memory_measures_the_same(
    tiny_dataset: Dataset, vae_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_vae(vae_run)

    def measured() -> list[float]:
        quality = vae.reconstruction_quality(model, tiny_dataset, range(50, 60), Runtime())
        mean, std = vae.latent_statistics(model, tiny_dataset, range(10), Runtime())
        return [*quality.values(), *mean.tolist(), *std.tolist()]

    plenty = measured()
    sizes: list[int] = []

    def scarce(vae: Any, pixels: torch.Tensor) -> Any:
        if len(pixels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(pixels))
        return encode_moments(vae, pixels)

    monkeypatch.setattr(vae, "encode_moments", scarce)
    assert measured() == pytest.approx(plenty, rel=1e-4, abs=1e-5)
    assert max(sizes) == 2  # 64, 32, 16, 8, 4 do not fit


def test_distinct_captions_are_encoded_once() -> None:
    captions, index = features.distinct(["b", "a", "b", "", "a"])
    assert captions == ["b", "a", ""] and index.tolist() == [0, 1, 0, 2, 1]


def test_a_dropped_caption_leaves_the_way_it_is_put() -> None:
    seen: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
            seen.append(encoder_hidden_states)
            return type("Output", (), {"sample": torch.zeros_like(x)})

    from origcli.models.unet import build_scheduler

    shares = {"caption_dropout": 0.5, "template_probability": 0.5, "part_probability": 0.5}
    own = resolve({"unet": shares}, environment={})[0].unet
    objective = denoising.DenoisingObjective(Spy(), build_scheduler(own), own, 1.0)
    states = torch.stack([torch.zeros(4, 3, 2), torch.ones(4, 3, 2)], dim=1)  # bare, in a template
    terms = objective(
        torch.zeros(4, 2, 1, 2, 2),
        states,
        -1 - states,
        torch.zeros(4, 1, 2, 2),
        torch.ones(4, 1, 2, 2),
        torch.tensor([0, 10, 500, 999]),
        drop=torch.tensor([0.9, 0.9, 0.1, 0.1]),
        way=torch.tensor([0.9, 0.1, 0.9, 0.1]),
        part=torch.tensor([0.5, 0.1, 0.9, 0.1]),
    )
    assert seen[0][:, 0, 0].tolist() == [0.0, 1.0, -1.0, -2.0]
    assert seen[0][:, 2, 0].tolist() == [0.0, -2.0, -1.0, -2.0]  # the second's [CLS] alone has the caption
    assert terms["loss"].shape == (4,)


def test_no_vae_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no VAE"):
        load_vae(tmp_path)


@pytest.mark.parametrize("count", [0, 9])
def test_a_data_set_that_is_too_small_is_refused_before_any_work(
    tmp_path: Path, tiny_settings: Settings, vae_run: Path, count: int
) -> None:
    small = tiny_settings.synth.model_copy(update={"count": count})
    data = write_dataset(Recipe(small, 0), tmp_path / "few").path
    for name, start in (
        ("vae", lambda runtime: vae.run(data, tiny_settings, runtime)),
        ("unet", lambda runtime: unet.run(data, vae_run, tiny_settings, runtime)),
    ):
        out = tmp_path / name
        with (
            open_runtime(tiny_settings.runtime, out) as runtime,
            pytest.raises(InputError, match=f"{count} images are too few") as caught,
        ):
            start(runtime)
        assert "origcli synth --count" in caught.value.hint
        assert not (out / "checkpoints").exists() and not (out / "text_encoder").exists()


def test_pictures_that_a_vae_would_decode_smaller_are_refused(
    tmp_path: Path, tiny_settings: Settings, vae_run: Path
) -> None:
    odd = tiny_settings.synth.model_copy(update={"count": 10, "resolution": 35})
    data = write_dataset(Recipe(odd, 0), tmp_path / "odd").path
    with (
        open_runtime(tiny_settings.runtime, tmp_path / "vae") as runtime,
        pytest.raises(UsageError, match="35 pixels cannot be halved 1 times") as caught,
    ):
        vae.run(data, tiny_settings, runtime)
    assert "a multiple of 2" in caught.value.hint
    with (
        open_runtime(tiny_settings.runtime, tmp_path / "unet") as runtime,
        pytest.raises(UsageError, match="35 pixels cannot be halved 1 times"),
    ):
        unet.run(data, vae_run, tiny_settings, runtime)


def test_captions_that_the_encoder_cannot_hold_are_refused(
    tmp_path: Path, tiny_dataset: Dataset, tiny_settings: Settings, vae_run: Path
) -> None:
    own = tiny_settings.text_encoder.model_copy(update={"max_length": 8})
    settings = tiny_settings.model_copy(update={"text_encoder": own})
    with (
        open_runtime(settings.runtime, tmp_path / "out") as runtime,
        pytest.raises(UsageError, match="longer than the text encoder"),
    ):
        unet.run(tiny_dataset.path, vae_run, settings, runtime)


CONFIG = """
[synth]
resolution = 32
[text_encoder]
width = 16
layers = 1
heads = 2
steps = 4
batch_size = 4
max_length = 40
[unet]
epochs = 4
batch_size = 6
channels = [8, 16]
norm_groups = 4
attention_head_dim = 8
checkpoint_every = 3
sample_every = 0
"""


@pytest.mark.fault(11, "a killed train-unet comes to the same bytes")
def test_a_killed_command_goes_on_to_the_same_bytes(
    tmp_path: Path, tiny_dataset: Dataset, vae_run: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(CONFIG)

    def command(out: str, *more: str) -> list[str]:
        words = ["train-unet", str(tiny_dataset.path), "--vae", str(vae_run), "--out", str(tmp_path / out)]
        options = ["--config", str(tmp_path / "tiny.toml"), "--quiet", *more]
        return [sys.executable, "-m", "origcli", *words, *options]

    environment = {**os.environ, "ORIGCLI_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    subprocess.run(command("whole"), env=environment, check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(command("killed"), env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list((tmp_path / "killed/checkpoints").glob("step-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/report.json").exists()
    subprocess.run(command("killed", "--resume"), env=environment, check=True, stdout=subprocess.DEVNULL)
    for name in ("report.json", "history.csv", "pipeline/unet/diffusion_pytorch_model.safetensors"):
        assert hash_file(tmp_path / "whole" / name) == hash_file(tmp_path / "killed" / name), name
    assert not list((tmp_path / "killed").rglob("*.partial"))


@pytest.mark.fault(9, "a train-unet saves a checkpoint of the step it was at")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_command_with_its_status(
    tmp_path: Path, tiny_dataset: Dataset, vae_run: Path, number: signal.Signals, status: int
) -> None:
    (tmp_path / "tiny.toml").write_text(CONFIG.replace("epochs = 4", "epochs = 4000"))
    words = ["train-unet", str(tiny_dataset.path), "--vae", str(vae_run), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "origcli", *words, "--config", str(tmp_path / "tiny.toml"), "--quiet"],
        env={**os.environ, "ORIGCLI_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not list((tmp_path / "out/checkpoints").glob("step-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == status and stdout == "" and "--resume" in stderr
    assert load_checkpoint(checkpoints(tmp_path / "out/checkpoints")[-1])[1]["step"] >= 3
    assert not (tmp_path / "out/report.json").exists()


@pytest.mark.slow
def test_two_processes_make_one_pipeline(tmp_path: Path, tiny_dataset: Dataset, vae_run: Path) -> None:
    """The whole command: caches, the text encoder's training, files and the report have one owner."""
    config = tmp_path / "tiny.toml"
    config.write_text(
        CONFIG.replace("epochs = 4", "epochs = 0.6").replace("sample_every = 0", "sample_every = 5")
    )
    words = ["train-unet", str(tiny_dataset.path), "--vae", str(vae_run), "--config", str(config)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "origcli"]
    done = subprocess.run(
        [sys.executable, *launch, *words, "--out", str(tmp_path / "two"), "--format", "json"],
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "ORIGCLI_CACHE": str(tmp_path / "cache of two"),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads(done.stdout)  # printed once
    settings = resolve(config=config, environment={})[0]
    with open_runtime(settings.runtime, tmp_path / "one") as runtime:
        one = unet.run(tiny_dataset.path, vae_run, settings, runtime).to_json()
    losses = [report["results"][0]["metrics"]["held_out_loss"]["value"] for report in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    weights = "pipeline/unet/diffusion_pytorch_model.safetensors"
    mine, theirs = load_file(tmp_path / "one" / weights), load_file(tmp_path / "two" / weights)
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-4) for name in mine)
    names = [sorted(p.name for p in (tmp_path / run).rglob("*")) for run in ("one", "two")]
    assert names[0] == names[1]
    histories = [[row["values"]["loss"] for row in report["results"][0]["history"]] for report in (one, two)]
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)  # of both processes, not of the first


def test_what_a_vae_is_trained_by_is_compiled(
    tiny_dataset: Dataset, tiny_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """encode() and decode() do not call the VAE itself: compiling that alone would change nothing."""
    called: list[str] = []

    def compiler(function: Any, **options: Any) -> Any:
        def compiled(*given: Any, **named: Any) -> Any:
            called.append(type(function.__self__).__name__)
            return function(*given, **named)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    settings = tiny_settings.model_copy(
        update={"runtime": tiny_settings.runtime.model_copy(update={"compile": True})}
    )
    with open_runtime(settings.runtime, tmp_path / "vae") as runtime:
        report = vae.run(tiny_dataset.path, settings, runtime)
    steps = report.results[0].steps
    assert steps >= 5
    assert all(called.count(part) >= steps for part in ("Encoder", "Decoder"))


@pytest.mark.parametrize(("one", "other"), [(200, 200), (30, 220), (0, 255)])
def test_similarity_of_even_pictures_is_its_formula(one: int, other: int) -> None:
    """Where nothing varies, SSIM is (2ab + c) / (a² + b² + c) with c = (0.01 · 255)²."""
    a, b = (np.full((2, 24, 24, 3), value, np.uint8) for value in (one, other))
    constant = (0.01 * 255) ** 2
    expected = (2 * one * other + constant) / (one**2 + other**2 + constant)
    found = vae.similarities(a, b, torch.device("cpu"))
    assert found.tolist() == pytest.approx([expected] * 2, abs=1e-4)


def test_similarity_counts_the_edge_of_a_picture() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (1, 24, 24, 3), np.uint8)
    changed = picture.copy()
    changed[:, 0] = 255 - changed[:, 0]
    (found,) = vae.similarities(picture, changed, torch.device("cpu")).tolist()
    (same,) = vae.similarities(picture, picture, torch.device("cpu")).tolist()
    assert same == pytest.approx(1) and found < 0.99
