"""The built-in configurations: the published networks, and CLIP's vocabulary token for token."""

from pathlib import Path

import pytest
import torch

from origcli.models.importing.checkpoint import check_fit, readers
from origcli.models.importing.configurations import CONFIGURATIONS, write_configuration
from origcli.models.importing.header import Header
from origcli.models.importing.kinds import recognize
from origcli.models.importing.parts import frame, read_index
from origcli.models.importing.prediction import correlation_with_noise, predicts_noise
from origcli.models.importing.vocabulary import clip_tokenizer
from tests.single_files import original_layout
from tests.stable_diffusion import TEXT, UNET, VAE

# Parameters of the published weights, in millions.
SIZES = {
    "sd15": {"unet": 859.52, "vae": 83.65, "text_encoder": 123.06},
    "sd21": {"unet": 865.91, "vae": 83.65, "text_encoder": 340.39},
    "sd21-base": {"unet": 865.91, "vae": 83.65, "text_encoder": 340.39},
    "sdxl": {"unet": 2567.46, "vae": 83.65, "text_encoder": 123.06, "text_encoder_2": 694.66},
}


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_networks_are_the_published_ones_and_fit_single_files(name: str, tmp_path: Path) -> None:
    directory = write_configuration(name, tmp_path / name)
    index = read_index(directory)
    networks = {part: frame(directory, part, *names) for part, names in index.networks.items()}
    sizes = {part: sum(p.numel() for p in n.parameters()) / 1e6 for part, n in networks.items()}
    assert {part: round(size, 2) for part, size in sizes.items()} == SIZES[name]
    assert index.others["scheduler"][0] == "diffusers"

    layout = original_layout(networks)  # on the meta device: names and shapes alone
    header = Header(Path("m.safetensors"), {key: tuple(tensor.shape) for key, tensor in layout.items()})
    assert recognize(header).configuration == name.removesuffix("-base")
    check_fit(header, networks, readers(header, networks))


def test_sd15_is_what_the_other_tests_take_it_for(tmp_path: Path) -> None:
    directory = write_configuration("sd15", tmp_path / "sd15")
    for part, wanted in (("unet", UNET), ("vae", VAE), ("text_encoder", TEXT)):
        config = frame(directory, part, *read_index(directory).networks[part]).config
        found = {key: getattr(config, key) for key in wanted}
        assert {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()} == wanted


def test_the_vocabulary_is_clips() -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.pad_token_id == 49407
    padded = clip_tokenizer("!")("a cat", padding="max_length")["input_ids"]
    assert padded == [49406, 320, 2368, 49407, *[0] * 73]


def test_the_vocabulary_gives_open_clips_tokens() -> None:
    from open_clip import get_tokenizer

    theirs, ours = get_tokenizer("ViT-B-32"), clip_tokenizer()
    for text in (
        "A photo of a Cat, in 1999!!",
        "naïve café — 日本語 😀 it's",
        "  spaces   here\tand\nthere",
        "x" * 40,
        "blue_square #7 (50%), don't",
    ):
        ids = [number for number in theirs(text)[0].tolist() if number]
        assert ours(text)["input_ids"] == ids


class _Answers(torch.nn.Module):
    """A UNet that answers with its input, or with something else."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer, self.dtype = answer, torch.float32
        self.config = type("Config", (), {"in_channels": 4, "cross_attention_dim": 8})

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, encoder_hidden_states: torch.Tensor) -> object:
        return type("Output", (), {"sample": self.answer(noisy)})  # type: ignore[operator]


def test_what_a_unet_predicts_is_measured() -> None:
    from origcli.models.pipeline import load_pipeline
    from origcli.runtime.context import Runtime
    from origcli.weights.registry import bundled_directory

    assert correlation_with_noise(_Answers(lambda noisy: noisy)) == pytest.approx(1)
    assert not predicts_noise(correlation_with_noise(_Answers(lambda noisy: 0.1 - 0 * noisy)))
    bundled = load_pipeline(bundled_directory(), Runtime())
    assert bundled.noising.prediction == "v_prediction"
    assert not predicts_noise(correlation_with_noise(bundled.denoiser))
