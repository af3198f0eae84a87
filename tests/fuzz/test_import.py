"""Single files and LoRAs of others: any names, shapes and bytes are answered, and nothing is written."""

import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from origcli.models.importing import checkpoint, lora
from origcli.models.importing.header import read_header
from origcli.models.importing.kinds import recognize
from origcli.models.importing.parts import frame, read_index
from tests.fuzz.reading import damaged, folder, share, survives
from tests.single_files import load_parts, original_layout, write_diffusers_lora, write_kohya_lora
from tests.stable_diffusion import write_narrow_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model without weights, the names and shapes of its single file, and two LoRAs."""
    here = tmp_path_factory.mktemp("fuzz")
    directory = write_narrow_pipeline(here / "sd")
    parts = load_parts(directory)
    networks = {
        part: frame(directory, part, *names) for part, names in read_index(directory).networks.items()
    }
    loras: dict[str, torch.Tensor] = {}
    for write in (write_kohya_lora, write_diffusers_lora):
        loras |= load_file(write(here / "l.safetensors", parts, r"attn2\.to_q|self_attn\.q_proj"))
    layout = {name: tuple(tensor.shape) for name, tensor in original_layout(parts).items()}
    return {"networks": networks, "layout": layout, "loras": loras}


WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["input_blocks", "0", "11", "weight", "lora_down", "attn2", "to_q", "__", "..", "\0", "@"]
    ),
)
SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple)
METADATA = st.dictionaries(
    st.sampled_from(["lora_adapter_metadata", "modelspec.title", "modelspec.prediction_type", "x"]),
    st.one_of(
        st.text(max_size=20), st.sampled_from(['{"unet.lora_alpha": "x"}', "[[", '{"unet.alpha_pattern": 3}'])
    ),
)


@st.composite
def changed(draw: st.DrawFn, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of which some were taken out, renamed, reshaped or put in."""
    found = dict(shapes)
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(found))) if found else "x"
        how = draw(st.sampled_from(["drop", "rename", "reshape", "add"]))
        if how in ("drop", "rename"):
            shape = found.pop(name, ())
            if how == "rename":
                pieces = name.split(".")
                pieces[draw(st.integers(0, len(pieces) - 1))] = draw(WORDS)
                found[".".join(pieces)] = shape
        else:
            found[name if how == "reshape" else ".".join(draw(st.lists(WORDS, max_size=4)))] = draw(SHAPES)
    return found


def write(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str]) -> Path:
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path, metadata)
    return path


@share(0.3)
@given(st.data())
def test_any_single_file_is_answered(model: dict[str, Any], data: st.DataObject) -> None:
    shapes, metadata = data.draw(changed(model["layout"])), data.draw(METADATA)

    def read(path: Path) -> None:
        header = read_header(path)
        recognize(header)
        checkpoint.stated(header)
        parts = checkpoint.readers(header, model["networks"])
        checkpoint.check_fit(header, model["networks"], parts)

    with folder() as here:
        path = write(here / "m.safetensors", shapes, metadata)
        survives(lambda: read(path))


@share(0.3)
@given(st.data())
def test_any_lora_is_answered(model: dict[str, Any], data: st.DataObject) -> None:
    whole = {name: tuple(tensor.shape) for name, tensor in model["loras"].items()}
    shapes, metadata = data.draw(changed(whole)), data.draw(METADATA)
    with folder() as here:
        path = write(here / "l.safetensors", shapes, metadata)
        survives(lambda: lora.fit(path, 1.0, model["networks"], "it"))


@share(0.25)
@given(st.data())
def test_any_bytes_are_answered(model: dict[str, Any], data: st.DataObject) -> None:
    some = dict(sorted(model["loras"].items())[:4])
    raw = data.draw(damaged(save(some, {"format": "pt"})))
    if data.draw(st.booleans()):  # a header that is longer than the file
        raw = struct.pack("<Q", data.draw(st.integers(0, 2**63))) + raw[8:]
    with folder() as here:
        (here / "l.safetensors").write_bytes(raw)
        survives(lambda: lora.fit(here / "l.safetensors", 1.0, model["networks"], "it"))
        survives(lambda: recognize(read_header(here / "l.safetensors")))


def test_what_is_changed_above_fits(model: dict[str, Any]) -> None:
    """Else nothing would be tested but the first check."""
    with folder() as here:
        header = read_header(write(here / "m.safetensors", model["layout"], {}))
        recognize(header)
        parts = checkpoint.readers(header, model["networks"])
        checkpoint.check_fit(header, model["networks"], parts)
        names = {name: tensor for name, tensor in model["loras"].items() if name.startswith("lora_")}
        save_file(names, here / "l.safetensors")
        assert lora.fit(here / "l.safetensors", 1.0, model["networks"], "it").changes
