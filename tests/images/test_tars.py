import tarfile
from pathlib import Path

import numpy as np
import pytest

from origcli.errors import InputError
from origcli.images.contents import content_hash
from origcli.images.inputs import find_captioned, find_inputs
from origcli.images.reading import read_picture
from origcli.reports.envelope import LeftOut
from origcli.scenes.writing import write_dataset
from tests.images.makers import png, tar
from tests.scenes.recipes import recipe


def colors(path: Path) -> list[object]:
    return [read_picture(one.source)[0].getpixel((0, 0)) for one in find_inputs([str(path)])]


def test_images_are_read_from_their_places_in_the_archive(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "a.tar",
        {"000.png": png("red"), "000.txt": b"a red one", "houses/old/001.PNG": png("blue"), "x.cls": b"3"},
    )
    said: list[str] = []
    found = find_inputs([str(path)], say=said.append)
    assert [(one.name, one.group, one.where) for one in found] == [
        ("000", "", f"{path}::000.png"),
        ("001", "houses/old", f"{path}::houses/old/001.PNG"),
    ]
    assert colors(path) == [(255, 0, 0), (0, 0, 255)]
    assert said == [f"{path}: left out: 1 .cls (not an image)"]
    assert read_picture(found[0].source)[1]["path"] == f"{path}::000.png"


def test_a_data_set_in_shards_is_read_by_its_metadata(tmp_path: Path) -> None:
    data = write_dataset(recipe(count=3, shards=2), tmp_path / "set")
    found = find_inputs([str(data.path)])
    assert [(one.name, Path(one.where).name) for one in found] == [
        ("000000", "00000.tar::000000.png"),
        ("000001", "00001.tar::000001.png"),
        ("000002", "00001.tar::000002.png"),
    ]
    for index, one in enumerate(found):
        assert np.array_equal(np.asarray(read_picture(one.source)[0]), data.image(index))
    (tmp_path / "set" / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "shard": "../out.tar", "offset": 0, "size": 9}\n'
    )
    with pytest.raises(InputError, match="no images found"):
        find_inputs([str(data.path)])


def test_keys_of_several_shards_get_numbers(tmp_path: Path) -> None:
    for number, color in enumerate(("red", "blue")):
        tar(tmp_path / f"{number}.tar", {"000.png": png(color)})
    found = find_inputs([str(tmp_path / "*.tar")])
    assert [one.name for one in found] == ["000", "000-2"]
    assert [Path(one.where).name for one in found] == ["0.tar::000.png", "1.tar::000.png"]


def test_groups_and_captions_come_from_the_files_of_a_key(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "a.tar",
        {
            "0.png": png(),
            "0.json": b'{"set": "common", "caption": "told"}',
            "1.jpg.png": png("blue"),
            "1.txt": b" written \n",
            "1.json": b'{"set": null, "caption": "told"}',
            "2.png": png("green"),
            "2.json": b"not json",
        },
    )
    assert [one.group for one in find_inputs([str(path)], group_column="set")] == ["common", "", ""]
    captioned = find_captioned(str(path))
    assert captioned is not None and [caption for _, caption in captioned] == ["told", "written"]


@pytest.mark.parametrize("name", ["../../outside.png", "/etc/outside.png", "a/../../b.png"])
def test_names_that_lead_out_of_an_archive_lead_nowhere(tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.parent.rglob("*"))
    path = tar(tmp_path / "a.tar", {name: png("blue")})
    (one,) = find_inputs([str(path)])
    assert ".." not in one.name and ".." not in one.group and not one.group.startswith("/")
    assert colors(path) == [(0, 0, 255)]
    assert sorted(tmp_path.parent.rglob("*")) == sorted([*before, path])


def test_links_and_devices_are_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("origcli.images.formats.reads_heic", lambda: False)
    link, device = tarfile.TarInfo("link.png"), tarfile.TarInfo("device.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    files = {"a.png": png(), "b.heic": b"", ".c.png": png(), ".notes.txt": b""}
    path = tar(tmp_path / "a.tar", {"l": link, "d": device, **files})
    said: list[str] = []
    assert [one.name for one in find_inputs([str(path)], say=said.append)] == ["a"]
    assert said == [f"{path}: left out: 1 HEIC (not supported), 1 hidden image, 2 links or special files"]


def test_a_truncated_archive_costs_what_is_missing(tmp_path: Path) -> None:
    members = {f"{number}.png": png("red", 64 + number) for number in range(3)}
    path = tar(tmp_path / "a.tar", members)
    whole = path.read_bytes()
    second = find_inputs([str(path)])[1].source

    path.write_bytes(whole[: second.offset + 10])  # type: ignore[union-attr]
    one, two = find_inputs([str(path)])
    assert read_picture(one.source)[0].size == (64, 64)
    with pytest.raises(InputError, match=r"a\.tar::1\.png: truncated: .* 10 of its") as caught:
        read_picture(two.source)
    assert caught.value.hint and content_hash(two.source) is None

    path.write_bytes(whole[: second.offset - 512] + b"rubbish " * 64)  # type: ignore[union-attr]
    one, rest = find_inputs([str(path)])
    assert read_picture(one.source)[0].size == (64, 64) and rest.name == "a-rest"
    with pytest.raises(InputError, match="what follows the first 1 images cannot be read"):
        read_picture(rest.source)

    tar(path, {"0.txt": b"a cat", **members})
    whole = path.read_bytes()
    second = find_inputs([str(path)])[1].source
    path.write_bytes(whole[: second.offset - 512] + b"rubbish " * 64)  # type: ignore[union-attr]
    left_out: list[LeftOut] = []
    captioned = find_captioned(str(path), left_out=left_out)
    assert captioned is not None and [caption for _, caption in captioned] == ["a cat", ""] and not left_out
    with pytest.raises(InputError, match="what follows the first 1 images cannot be read"):
        read_picture(captioned[1][0])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.tar", b"hello" * 200, "not a tar archive"),
        ("a.tar", b"", "not a tar archive"),
        ("a.tar", b"\0" * 1024, "no images in this archive"),
        ("a.tar.gz", b"\x1f\x8b", "a compressed archive"),
    ],
)
def test_what_is_no_archive_of_images_is_told(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        find_inputs([str(tmp_path / name)])


def test_an_archive_that_is_gone_costs_its_images_alone(tmp_path: Path) -> None:
    (one,) = find_inputs([str(tar(tmp_path / "a.tar", {"0.png": png()}))])
    (tmp_path / "a.tar").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_picture(one.source)
