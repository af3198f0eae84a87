from pathlib import Path

import torch

from origcli.models.half_precision import store_half
from origcli.models.pipeline import load_pipeline
from origcli.runtime.context import Runtime
from tests.tiny_families import write_tiny_family


def test_so_is_one_of_stable_diffusion_3(tmp_path: Path) -> None:
    before = load_pipeline(write_tiny_family(tmp_path / "whole", "sd3_without_t5"), Runtime())
    store_half(tmp_path / "whole", tmp_path / "half")
    after = load_pipeline(tmp_path / "half", Runtime())
    assert before.family.modules.keys() == after.family.modules.keys()
    for part, network in before.family.modules.items():
        pairs = zip(network.parameters(), after.family.modules[part].parameters(), strict=True)
        assert all(torch.equal(a.half().float(), b) for a, b in pairs), part


def test_a_pipeline_is_stored_at_half_its_size(tiny_bert_pipeline_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("stays")
    (tmp_path / "registry.json").write_text("{}")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "old.txt").write_text("goes")
    store_half(tiny_bert_pipeline_dir, tmp_path)
    before = load_pipeline(tiny_bert_pipeline_dir, Runtime(), name="before")
    after = load_pipeline(tmp_path, Runtime(), name="after")
    for part in ("vae", "unet", "text_encoder"):
        pairs = zip(*(model.family.modules[part].parameters() for model in (before, after)), strict=True)
        assert all(torch.equal(a.half().float(), b) for a, b in pairs)
    sizes = [
        sum(path.stat().st_size for path in root.rglob("*.safetensors"))
        for root in (tiny_bert_pipeline_dir, tmp_path)
    ]
    assert 0.45 * sizes[0] < sizes[1] < 0.6 * sizes[0]
    assert (tmp_path / "card.md").exists() and not (tmp_path / "unet" / "old.txt").exists()
    assert not (tmp_path / "registry.json").exists()
    assert not list(tmp_path.glob(".*"))
