"""Files of learned tokens: the keys that other programs look for, and what diffusers makes of each."""

from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

import origcli
from origcli.errors import InputError
from origcli.inversion.token_files import ONE, TokenFacts, read_tokens, write_tokens
from tests.tiny_models import clip_tokenizer

TOKEN = "<origcli-cat-m3>"
FACTS = TokenFacts("sd15", "0" * 64, 250, 7)
SHAPES = {"clip_l": 16, "clip_g": 20, "t5xxl": 32}


def vectors(*keys: str, m: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(m, SHAPES.get(key, 16), generator=generator) for key in keys}


def keys_of(path: Path) -> set[str]:
    with safe_open(path, "pt") as file:
        return set(file.keys())


@pytest.mark.parametrize(
    ("encoders", "keys"),
    [
        ((ONE,), {TOKEN}),
        (("clip_l",), {TOKEN}),
        (("clip_l", "clip_g"), {"clip_l", "clip_g"}),
        (("clip_l", "clip_g", "t5xxl"), {"clip_l", "clip_g", "t5xxl"}),
        (("clip_l", "t5xxl"), {"clip_l", "t5xxl", "t5"}),
    ],
)
def test_keys_are_those_that_other_programs_look_for(
    encoders: tuple[str, ...], keys: set[str], tmp_path: Path
) -> None:
    given = vectors(*encoders)
    write_tokens(tmp_path / "cat.safetensors", TOKEN, given, FACTS)
    assert keys_of(tmp_path / "cat.safetensors") == keys
    token, found = read_tokens(tmp_path / "cat.safetensors")
    assert token == TOKEN
    wanted = {ONE: next(iter(given.values()))} if len(given) == 1 else given
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_file_says_what_it_was_learned_with_and_equal_files_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tokens(tmp_path / f"{name}.safetensors", TOKEN, vectors("clip_l", "clip_g"), FACTS)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    assert list(metadata.values()).count("") == 0
    assert metadata == {
        "format": "pt",
        "placeholder": TOKEN,
        "tokens": "3",
        "base_model": "sd15",
        "base_model_hash": "0" * 64,
        "steps": "250",
        "seed": "7",
        "origcli_version": origcli.__version__,
    }


def test_files_of_other_programs(tmp_path: Path) -> None:
    given = vectors("clip_l", "clip_g", "t5xxl")
    cases = (
        ({"emb_params": given["clip_l"]}, "word", {ONE}),
        ({"<cat>": given["clip_l"][0]}, "<cat>", {ONE}),
        ({"clip_l": given["clip_l"]}, "word", {ONE}),
        ({"clip_g": given["clip_g"], "clip_l": given["clip_l"]}, "word", {"clip_l", "clip_g"}),
        ({"clip_l": given["clip_l"], "t5": given["t5xxl"]}, "word", {"clip_l", "t5xxl"}),
    )
    for tensors, word, keys in cases:
        save_file(tensors, tmp_path / "word.safetensors")
        token, found = read_tokens(tmp_path / "word.safetensors")
        assert (token, set(found)) == (word, keys)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    given = vectors("clip_l", "clip_g", "t5xxl")
    for tensors, message in (
        ({**given, "notes": torch.ones(1)}, "holds 4 tensors"),
        ({"clip_l": given["clip_l"], "clip_g": given["clip_g"][:2]}, "of 2 and 3 tokens"),
        ({"clip_l": given["clip_l"], "t5xxl": given["t5xxl"], "t5": given["t5xxl"] + 1}, "differ"),
        ({"clip_l": given["clip_l"], "clip_g": given["clip_g"] * torch.nan}, "not a finite"),
    ):
        save_file(tensors, tmp_path / "odd.safetensors")
        with pytest.raises(InputError, match=message):
            read_tokens(tmp_path / "odd.safetensors")


# -- diffusers -----------------------------------------------------------------------------------


def clip(width: int, words: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=width,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )


def rows(encoder: torch.nn.Module, tokenizer: object) -> Tensor:
    """The vectors that an encoder has for the tokens of the placeholder."""
    ids = tokenizer.convert_tokens_to_ids([TOKEN, f"{TOKEN}_1", f"{TOKEN}_2"])  # type: ignore[attr-defined]
    table: Tensor = encoder.get_input_embeddings().weight  # type: ignore[operator]
    return table[ids]


def test_diffusers_loads_a_file_of_one_key(tmp_path: Path) -> None:
    given, tokenizer = vectors(ONE), clip_tokenizer()
    write_tokens(tmp_path / "cat.safetensors", TOKEN, given, FACTS)
    encoder = clip(16, len(tokenizer))
    pipeline = StableDiffusionPipeline(None, encoder, tokenizer, None, None, None, None, None, False)
    pipeline.load_textual_inversion(str(tmp_path / "cat.safetensors"))
    assert torch.equal(rows(encoder, tokenizer), given[ONE])


def test_diffusers_loads_xl_key_by_key(tmp_path: Path) -> None:
    given = vectors("clip_l", "clip_g")
    write_tokens(tmp_path / "cat.safetensors", TOKEN, given, FACTS)
    first, second = clip_tokenizer(), clip_tokenizer()
    encoders = {"clip_l": (clip(16, len(first)), first), "clip_g": (clip(20, len(second)), second)}
    pipeline = StableDiffusionXLPipeline(
        None, encoders["clip_l"][0], encoders["clip_g"][0], first, second, None, None, add_watermarker=False
    )
    found = load_file(tmp_path / "cat.safetensors")
    for key, (encoder, tokenizer) in encoders.items():
        pipeline.load_textual_inversion(found[key], token=TOKEN, text_encoder=encoder, tokenizer=tokenizer)
        assert torch.equal(rows(encoder, tokenizer), given[key])


def test_diffusers_loads_flux_key_by_key(tmp_path: Path) -> None:
    given = vectors("clip_l", "t5xxl")
    write_tokens(tmp_path / "cat.safetensors", TOKEN, given, FACTS)
    tokenizer = clip_tokenizer()
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -2.0), *((f"▁{word}", -3.0) for word in ("a", "cat"))]
    words = T5Tokenizer(vocab=pieces, extra_ids=0)
    second = T5EncoderModel(
        T5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=8, num_layers=1, num_heads=2)
    )
    encoders = {"clip_l": (clip(16, len(tokenizer)), tokenizer), "t5": (second, words)}
    pipeline = FluxPipeline(None, None, encoders["clip_l"][0], tokenizer, second, words, None)
    found = load_file(tmp_path / "cat.safetensors")
    for key, (encoder, its_tokenizer) in encoders.items():
        pipeline.load_textual_inversion(
            found[key], token=TOKEN, text_encoder=encoder, tokenizer=its_tokenizer
        )
        assert torch.equal(rows(encoder, its_tokenizer), given["t5xxl" if key == "t5" else key])
