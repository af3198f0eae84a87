"""Every class of pipelines of the installed diffusers is opened or refused by name; every byte counts."""

import json
from pathlib import Path

import diffusers
import pytest

from origcli.errors import ModelError
from origcli.models.families.known import FAMILIES
from origcli.weights.hashing import check_pipeline, hash_pipeline
from origcli.weights.kinds import KINDS
from origcli.weights.pipelines import INDEX, read_index
from tests.tiny_families import BUILDERS, write_tiny_family

PIPELINES = sorted(
    name for name in dir(diffusers) if name.endswith("Pipeline") and name != "DiffusionPipeline"
)


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory. Do not leave changes in it."""
    return write_tiny_family(tmp_path_factory.mktemp("kinds") / "flux", "flux")


def test_kinds_and_families_are_the_same_classes_of_diffusers() -> None:
    assert set(KINDS) == set(FAMILIES) <= set(PIPELINES)
    for name, family in FAMILIES.items():
        parts = KINDS[name].parts
        assert {text.part for text in family.texts} == {part for part in parts if "text_encoder" in part}
        assert family.denoiser_part in parts


def test_every_other_class_is_refused_by_name(tmp_path: Path) -> None:
    others = [name for name in PIPELINES if name not in KINDS]
    assert len(others) > 100
    for name in others:
        (tmp_path / INDEX).write_text(json.dumps({"_class_name": name}))
        with pytest.raises(ModelError, match=name) as refused:
            read_index("it", tmp_path / INDEX)
        assert "FLUX.1 dev" in refused.value.hint


def test_the_hash_moves_with_any_byte_of_any_part(flux: Path) -> None:
    whole = hash_pipeline(flux)
    read = [path for path in flux.rglob("*") if path.suffix in (".json", ".safetensors", ".txt")]
    assert {path.parent.name for path in read} >= {"text_encoder", "text_encoder_2", "tokenizer_2", "vae"}
    for path in read:
        data = path.read_bytes()
        path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
        if path.name != INDEX:
            assert hash_pipeline(flux) != whole, path
        path.write_bytes(data)
    assert hash_pipeline(flux) == whole


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("transformer", {"guidance_embeds": False}, "schnell"),
        ("transformer", {"in_channels": 24}, "Fill"),
        ("scheduler", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, ""),
    ],
)
def test_kin_that_cannot_be_measured_are_refused_by_their_configuration(
    flux: Path, part: str, values: dict[str, object], words: str
) -> None:
    path = flux / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    before = path.read_bytes()
    path.write_text(json.dumps({**json.loads(before), **values}))
    try:
        if not words:
            check_pipeline(flux)
            return
        with pytest.raises(ModelError, match=words):
            check_pipeline(flux)
    finally:
        path.write_bytes(before)


def test_a_part_that_may_be_missing_is_no_error(tmp_path: Path) -> None:
    assert "sd3_without_t5" in BUILDERS
    pipeline, _ = check_pipeline(write_tiny_family(tmp_path / "sd3", "sd3_without_t5"))
    assert "text_encoder_3" not in pipeline.classes and "text_encoder_2" in pipeline.classes
