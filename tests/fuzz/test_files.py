"""Files that others wrote: pictures, lists, data sets, tokens, configuration, reports, archives."""

import io
import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from safetensors.torch import save

from origcli.detection.card import read_card
from origcli.errors import OrigError
from origcli.images.inputs import find_captioned, find_inputs
from origcli.images.reading import read_image
from origcli.inversion.templates import read_templates
from origcli.inversion.token_files import read_tokens
from origcli.models.checkpoints import load_checkpoint
from origcli.reports.writers import read_report
from origcli.scenes.dataset import read_dataset
from origcli.scenes.mixtures import Recipe
from origcli.scenes.records import scene_of
from origcli.scenes.writing import write_dataset
from origcli.settings import preset_values, resolve
from origcli.weights.archives import unpack
from origcli.weights.registry import bundled_directory, read_registry
from tests.fuzz.reading import damaged, folder, json_bytes, share, survives
from tests.images.makers import embedded, parquet, tar
from tests.reports import samples

# -- pictures ------------------------------------------------------------------------------------


def picture(form: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture file with noise in it."""
    values = np.random.default_rng(0).integers(0, 255, (12, 10, 4), dtype=np.uint8)
    image = Image.fromarray(values, "RGBA").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = 6
    return found


_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_FRAMES = [Image.new("RGB", (10, 12), color) for color in ("red", "blue")]
PICTURES = [
    *(picture(form) for form in ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF")),
    *(picture(form, mode) for form, mode in [("GIF", "P"), ("PNG", "LA"), ("TIFF", "CMYK")]),
    picture("JPEG", "CMYK"),
    *(picture("TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
    picture("PNG", exif=exif(), icc_profile=_ICC.replace(b"sRGB", b"other")),
    picture("JPEG", exif=exif(), icc_profile=_ICC),
    picture("GIF", save_all=True, append_images=_FRAMES),
    picture("PNG", save_all=True, append_images=_FRAMES),
    picture("WEBP", save_all=True, append_images=_FRAMES),
]


@share(0.25)
@given(st.sampled_from(PICTURES).flatmap(damaged), st.sampled_from(["center", "squash", "pad"]))
def test_any_picture_is_answered(data: bytes, crop: Any) -> None:
    with folder() as here:
        (here / "a.png").write_bytes(data)
        survives(lambda: read_image(here / "a.png", 8, crop))


# -- lists ---------------------------------------------------------------------------------------

LIST = b'path,group\r\na.png,one\r\n"b ""x"".png","two, three"\r\nfile:caf%E9.png,\r\n../c.png,/etc\r\n'


@share(0.25)
@given(damaged(LIST), st.sampled_from([None, "group", "path", "none"]))
@example(b"path,group\na.png,b,c\n", "none")
def test_any_list_is_answered(data: bytes, column: str | None) -> None:
    with folder() as here:
        (here / "a.png").touch()
        (here / "list.csv").write_bytes(data)
        survives(lambda: find_inputs([str(here / "list.csv")], group_column=column))
        survives(lambda: find_inputs(["-"], group_column=column, stdin=io.BytesIO(data)))


# -- archives and tables of pictures -------------------------------------------------------------


def read_inside(path: Path) -> None:
    """All that commands read of an archive or a table."""
    for one in find_inputs([str(path)], group_column="kind"):
        with suppress(OrigError):
            read_image(one.source, 8)
    find_captioned(str(path))


@share(0.25)
@given(st.data())
def test_any_archive_and_table_is_answered(data: st.DataObject) -> None:
    pytest.importorskip("pyarrow")
    png = picture("PNG")
    with folder() as here:
        record = b'{"kind": "x", "caption": "y"}'
        tar(here / "a.tar", {"0.png": png, "0.json": record, "0.txt": b"z", "../1.png": png})
        rows = {"image": embedded(png, None), "kind": ["x", "y"], "text": ["a", None]}
        parquet(here / "a.parquet", rows, rows_a_group=1)
        path = here / data.draw(st.sampled_from(["a.tar", "a.parquet"]))
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        survives(lambda: read_inside(path))


# -- data sets -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a data set of three pictures."""
    settings, _ = resolve({"synth": {"count": 3, "resolution": 32}}, environment={})
    root = write_dataset(Recipe(settings.synth, 0), tmp_path_factory.mktemp("data") / "set").path
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def read_all(root: Path) -> None:
    """All that commands read of a data set."""
    data = read_dataset(root)
    _ = (data.captions, data.resolution, data.hash, data.recipe)
    for record in data.records:
        scene_of(record)
        data.picture(record)


@share(0.25)
@given(st.data())
def test_any_data_set_is_answered(made: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["dataset.json", "metadata.jsonl", "images/00000/000000.png"]))
    if name == "dataset.json":
        changed = data.draw(json_bytes(json.loads(made[name])))
    elif name == "metadata.jsonl" and data.draw(st.booleans()):
        first, *rest = made[name].splitlines(keepends=True)
        changed = data.draw(json_bytes(json.loads(first))) + b"\n" + b"".join(rest)
    else:
        changed = data.draw(damaged(made[name]))
    with folder() as here:
        for path, content in {**made, name: changed}.items():
            (here / path).parent.mkdir(parents=True, exist_ok=True)
            (here / path).write_bytes(content)
        survives(lambda: read_all(here))
        survives(lambda: find_inputs([str(here)]))


# -- single files --------------------------------------------------------------------------------

TOKENS = save({"<origcli-a-m2>": torch.ones(2, 4)}, {"format": "pt"})
CONFIG = b'[score]\nsamples = 8\nmodel = "sd15"\n[draw]\nsteps = 5\n[synth]\nhold_out = ["blue circle"]\n'
TEMPLATES = "# prompts\na photo of {S}\n\nthe \u00e9 {S}\n".encode()


@share(0.25)
@given(damaged(TOKENS))
def test_any_tokens_are_answered(data: bytes) -> None:
    with folder() as here:
        (here / "a.safetensors").write_bytes(data)
        survives(lambda: read_tokens(here / "a.safetensors"))


@share(0.25)
@given(damaged(CONFIG))
def test_any_configuration_is_answered(data: bytes) -> None:
    with folder() as here:
        (here / "a.toml").write_bytes(data)
        survives(lambda: resolve(config=here / "a.toml", environment={}))


@share(0.25)
@given(damaged(TEMPLATES))
def test_any_templates_are_answered(data: bytes) -> None:
    with folder() as here:
        (here / "a.txt").write_bytes(data)
        survives(lambda: read_templates(str(here / "a.txt")))


def test_the_samples_are_whole() -> None:
    """What is damaged above can be read before: else nothing would be tested but the first check."""
    with folder() as here:
        for name, data in (("a.safetensors", TOKENS), ("a.toml", CONFIG), ("a.txt", TEMPLATES)):
            (here / name).write_bytes(data)
        assert read_tokens(here / "a.safetensors")[1][""].shape == (2, 4)
        assert resolve(config=here / "a.toml", environment={})[0].score.samples == 8
        assert len(read_templates(str(here / "a.txt"))) == 2
        assert preset_values("paper")
        for data in PICTURES:
            (here / "a.png").write_bytes(data)
            assert read_image(here / "a.png", 8)[0].size == (8, 8)


# -- what runs and models leave ------------------------------------------------------------------


@pytest.fixture(scope="module")
def report() -> Any:
    """A report with one image."""
    return samples.report(samples.result(None)).to_json()


@share(0.25)
@given(st.data())
def test_any_report_is_answered(report: Any, data: st.DataObject) -> None:
    changed = data.draw(json_bytes(report))
    with folder() as here:
        (here / "report.json").write_bytes(changed)
        survives(lambda: read_report(here, "score"))


REGISTRY = json.loads((bundled_directory() / "registry.json").read_bytes())


@share(0.25)
@given(json_bytes(REGISTRY))
def test_any_registry_is_answered(data: bytes) -> None:
    with folder() as here:
        (here / "registry.json").write_bytes(data)
        survives(lambda: read_registry(here))


CARD = next((bundled_directory() / "detector").glob("*.yaml"))


@share(0.25)
@given(damaged(CARD.read_bytes()))
def test_any_detector_is_answered(data: bytes) -> None:
    with folder() as here:
        (here / CARD.name).write_bytes(data)
        survives(lambda: read_card(here))


@share(0.25)
@given(json_bytes({"step": 3, "tensors_sha256": "0" * 64, "identity": {}, "history": [], "sums": {}}))
def test_any_checkpoint_is_answered(data: bytes) -> None:
    with folder() as here:
        (here / "state.json").write_bytes(data)
        (here / "tensors.safetensors").write_bytes(TOKENS)
        survives(lambda: load_checkpoint(here))


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/b.txt", "text " * 20)
        file.writestr("c.bin", bytes(40))
    return buffer.getvalue()


@share(0.25)
@given(damaged(archive()))
def test_any_archive_is_answered_and_stays_inside(data: bytes) -> None:
    with folder() as here:
        (here / "in").mkdir()
        (here / "in" / "a.zip").write_bytes(data)
        with suppress(OrigError):
            unpack(here / "in" / "a.zip", here / "out" / "weights")
        assert {path.name for path in here.iterdir()} <= {"in", "out"}
        assert [path.name for path in (here / "in").iterdir()] == ["a.zip"]
        assert {path.name for path in (here / "out").glob("*")} <= {"weights"}
