"""train-vae, train-unet and the caption BERT go on to the same bits, and with nothing else than before."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from origcli.errors import Interrupted, UsageError
from origcli.models.checkpoints import checkpoints, load_checkpoint
from origcli.runtime.context import open_runtime
from origcli.runtime.progress import Progress, SilentProgress
from origcli.runtime.provenance import hash_file
from origcli.scenes.dataset import Dataset
from origcli.settings import Settings
from origcli.training import unet, vae
from origcli.training.text_encoder import pretrain
from tests.training.stopping import StopAfter

CAPTIONS = ("big red full circle", "big red full circle and small blue empty square", "big green full star")
TEMPLATES = ("a photo of {S}", "a picture of {S}")


def changed(settings: Settings, changes: Mapping[str, Mapping[str, Any]]) -> Settings:
    sections = {
        name: getattr(settings, name).model_copy(update=dict(update)) for name, update in changes.items()
    }
    return settings.model_copy(update=sections)


def equal_files(one: Path, other: Path, *names: str) -> None:
    for name in names:
        assert hash_file(one / name) == hash_file(other / name), name


# -- the VAE ---------------------------------------------------------------------------------------


@pytest.mark.fault(11, "so does train-vae, to the bytes of its report")
def test_a_stopped_vae_goes_on_to_the_same_bytes(
    tmp_path: Path, tiny_dataset: Dataset, tiny_settings: Settings, vae_run: Path
) -> None:
    out = tmp_path / "vae"
    with (
        pytest.raises(Interrupted),
        open_runtime(tiny_settings.runtime, out, StopAfter(3, "train-vae")) as runtime,
    ):
        vae.run(tiny_dataset.path, tiny_settings, runtime)
    assert load_checkpoint(checkpoints(out / "checkpoints")[-1])[1]["step"] == 3
    assert not (out / "vae").exists()
    with open_runtime(tiny_settings.runtime, out) as runtime:
        vae.run(tiny_dataset.path, tiny_settings, runtime, resume=True)
    equal_files(vae_run, out, "report.json", "history.csv", "reconstructions.png", "vae/config.json")
    weights = "vae/diffusion_pytorch_model.safetensors"
    whole, resumed = load_file(vae_run / weights), load_file(out / weights)
    assert all(whole[name].equal(resumed[name]) for name in whole)


@pytest.mark.fault(12, "a VAE resumes with the same settings, steps and precision alone")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vae": {"held_out": 3}}, r"settings\.held_out was 6, is 3"),
        ({"vae": {"epochs": 1.0}}, r"loop\.steps was 5, is 9"),
        ({"runtime": {"dtype": "bf16"}}, r"computing\.dtype was 'float32', is 'bfloat16'"),
    ],
)
def test_a_vae_does_not_go_on_otherwise(
    tmp_path: Path,
    tiny_dataset: Dataset,
    tiny_settings: Settings,
    vae_run: Path,
    changes: dict[str, dict[str, Any]],
    message: str,
) -> None:
    out, settings = shutil.copytree(vae_run, tmp_path / "vae"), changed(tiny_settings, changes)
    with open_runtime(settings.runtime, out) as runtime, pytest.raises(UsageError, match=message):
        vae.run(tiny_dataset.path, settings, runtime, resume=True)


# -- the caption BERT ------------------------------------------------------------------------------


def pretrained(
    settings: Settings, out: Path, progress: Progress | None = None, captions: tuple[str, ...] = CAPTIONS
) -> None:
    with open_runtime(settings.runtime, out, progress) as runtime:
        pretrain(captions, TEMPLATES, settings.text_encoder, runtime, out / "bert", resume=True)


@pytest.mark.fault(11, "so does the text encoder's pre-training")
def test_a_stopped_text_encoder_goes_on_to_the_same_bytes(tmp_path: Path, tiny_settings: Settings) -> None:
    pretrained(tiny_settings, tmp_path / "whole")
    with pytest.raises(Interrupted):
        pretrained(tiny_settings, tmp_path / "parts", StopAfter(4, "text-encoder"))
    assert not (tmp_path / "parts/bert/report.json").exists()
    pretrained(tiny_settings, tmp_path / "parts")
    equal_files(
        tmp_path / "whole/bert",
        tmp_path / "parts/bert",
        *("report.json", "history.csv", "text_encoder/model.safetensors", "tokenizer/tokenizer.json"),
    )


def test_a_finished_text_encoder_is_not_trained_again(tmp_path: Path, tiny_settings: Settings) -> None:
    class Silence(SilentProgress):
        def task(self, description: str, total: int | None, start: int = 0, phases: int = 0) -> Any:
            pytest.fail(f"{description} again")

    pretrained(tiny_settings, tmp_path)
    pretrained(tiny_settings, tmp_path, Silence())
    with pytest.raises(UsageError, match="texts was"):
        pretrained(tiny_settings, tmp_path, captions=CAPTIONS[1:])


# -- the UNet --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def borrowing(tiny_settings: Settings, unet_run: Path) -> Settings:
    """Settings with the text encoder of another run, which the UNet's own identity has to tell."""
    return changed(tiny_settings, {"text_encoder": {"source": str(unet_run / "text_encoder")}})


@pytest.fixture(scope="module")
def stopped(
    tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Dataset, borrowing: Settings, vae_run: Path
) -> Path:
    """A train-unet that was stopped after three steps of five."""
    out = tmp_path_factory.mktemp("stopped") / "unet"
    progress = StopAfter(3, "train-unet")
    with pytest.raises(Interrupted), open_runtime(borrowing.runtime, out, progress) as runtime:
        unet.run(tiny_dataset.path, vae_run, borrowing, runtime)
    return out


def go_on(data: Path, latents: Path, settings: Settings, out: Path) -> None:
    with open_runtime(settings.runtime, out) as runtime:
        unet.run(data, latents, settings, runtime, resume=True)


@pytest.mark.fault(12, "a UNet resumes with the same images, tokenizer and precision alone")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unet": {"learning_rate": 0.5}}, r"settings\.learning_rate was 0\.001, is 0\.5"),
        ({"vae": {"held_out": 3}}, r"held_out was 6, is 3"),
        ({"runtime": {"dtype": "bf16"}}, r"computing\.dtype was 'float32', is 'bfloat16'"),
        ({"runtime": {"seed": 1}}, "seed was 0, is 1"),
        ({"text_encoder": {"max_length": 30}}, r"tokenizer\.max_length was 40, is 30"),
    ],
)
def test_a_unet_does_not_go_on_otherwise(
    tmp_path: Path,
    tiny_dataset: Dataset,
    borrowing: Settings,
    vae_run: Path,
    stopped: Path,
    changes: dict[str, dict[str, Any]],
    message: str,
) -> None:
    out = shutil.copytree(stopped, tmp_path / "unet")
    with pytest.raises(UsageError, match=message):
        go_on(tiny_dataset.path, vae_run, changed(borrowing, changes), out)


@pytest.mark.fault(12, "nor with another vocabulary, or images that were exchanged")
def test_a_unet_does_not_go_on_with_other_files(
    tmp_path: Path, tiny_dataset: Dataset, borrowing: Settings, vae_run: Path, stopped: Path
) -> None:
    out = shutil.copytree(stopped, tmp_path / "unet")
    bert = shutil.copytree(borrowing.text_encoder.source, tmp_path / "bert")
    words = bert / "tokenizer/tokenizer.json"
    words.write_text(words.read_text().replace('"circle"', '"circel"'))
    other = changed(borrowing, {"text_encoder": {"source": str(bert)}})
    with pytest.raises(UsageError, match=r"tokenizer\.vocabulary was"):
        go_on(tiny_dataset.path, vae_run, other, out)
    data = shutil.copytree(tiny_dataset.path, tmp_path / "data")
    first, second = sorted(data.rglob("*.png"))[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(UsageError, match="pictures was"):
        go_on(data, vae_run, borrowing, out)


@pytest.mark.fault(12, "nor is a finished caption BERT taken that other settings made")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 32}, r"settings\.width was 16, is 32"),
        ({"steps": 7}, r"settings\.steps was 6, is 7"),
        ({"max_length": 50}, r"settings\.max_length was 40, is 50"),
    ],
)
def test_a_finished_text_encoder_of_other_settings_is_refused(
    tmp_path: Path,
    tiny_dataset: Dataset,
    tiny_settings: Settings,
    vae_run: Path,
    unet_run: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    out = shutil.copytree(unet_run, tmp_path / "unet")
    for path in checkpoints(out / "checkpoints"):  # stopped between the two trainings
        shutil.rmtree(path)
    with pytest.raises(UsageError, match=message):
        go_on(tiny_dataset.path, vae_run, changed(tiny_settings, {"text_encoder": changes}), out)
