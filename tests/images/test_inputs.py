import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import InputError, Interrupted
from origcli.images import inputs
from origcli.reports.envelope import LeftOut
from origcli.runtime import interrupts
from origcli.runtime.paths import path_of


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(*arguments: Any, **options: Any) -> list[tuple[str, str]]:
    return [(one.path.name, one.group) for one in inputs.find_inputs([str(a) for a in arguments], **options)]


def test_a_file_is_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a photo.JPG")
    (one,) = inputs.find_inputs([str(tmp_path / "a photo.JPG")])
    assert one == inputs.Input(tmp_path / "a photo.JPG", "a-photo", "")


def test_folders_of_a_directory_are_groups(tmp_path: Path) -> None:
    touch(tmp_path, "x.txt", ".hidden/h.png", "b.png", "houses/original/2.webp", "houses/common/1.png")
    assert found(tmp_path) == [("b.png", ""), ("1.png", "houses/common"), ("2.webp", "houses/original")]


def test_several_directories_are_groups_themselves(tmp_path: Path) -> None:
    touch(tmp_path, "common/1.png", "original/2.png", "original/deep/3.png")
    assert found(tmp_path / "common", tmp_path / "original/") == [
        ("1.png", "common"),
        ("2.png", "original"),
        ("3.png", "original/deep"),
    ]


def test_a_glob_groups_by_what_its_wildcards_stand_for(tmp_path: Path) -> None:
    touch(tmp_path, "common/1.png", "original/2.png", "original/notes.txt")
    assert found(tmp_path / "*" / "*") == [("1.png", "common"), ("2.png", "original")]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].png")
    assert found(tmp_path / "a[1].png") == [("a[1].png", "")]


def test_a_csv_list_has_paths_relative_to_itself_and_groups(tmp_path: Path) -> None:
    touch(tmp_path, "p/1.png", "p/2.png")
    (tmp_path / "list.csv").write_text("group,path,kind\noriginal,p/1.png,art\ncommon,p/2.png,\n")
    assert found(tmp_path / "list.csv") == [("1.png", "original"), ("2.png", "common")]
    assert found(tmp_path / "list.csv", group_column="kind") == [("1.png", "art"), ("2.png", "")]
    with pytest.raises(InputError, match="'color'"):
        found(tmp_path / "list.csv", group_column="color")


def test_a_csv_list_without_a_path_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column 'path'"):
        found(tmp_path / "list.csv")


def test_a_data_set_directory_has_its_categories_as_groups(tmp_path: Path) -> None:
    touch(tmp_path, "images/000/000000.png", "images/000/000001.png")
    rows = [{"file_name": f"images/000/00000{i}.png", "category": c} for i, c in enumerate(["rare", None])]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert found(tmp_path) == [("000000.png", "rare"), ("000001.png", "")]
    (tmp_path / "metadata.jsonl").write_text('{"text": "no file"}')
    with pytest.raises(InputError, match="metadata"):
        found(tmp_path)


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_stdin_is_a_list_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str) -> None:
    touch(tmp_path, "1.png", "2, with comma.png")
    monkeypatch.chdir(tmp_path)
    data = separator.join(["1.png", "2, with comma.png", ""]).encode()
    assert found("-", stdin=io.BytesIO(data)) == [("1.png", ""), ("2, with comma.png", "")]


def test_stdin_may_be_a_csv_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "1.png")
    monkeypatch.chdir(tmp_path)
    assert found("-", stdin=io.BytesIO(b"\xef\xbb\xbfpath,group\n1.png,x\n")) == [("1.png", "x")]


@pytest.mark.fault(5, "exit 3 before any work when there is no image at all")
def test_nothing_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nosuch\.jpg: no such file$"):
        found(tmp_path / "nosuch.jpg")
    with pytest.raises(InputError, match="no images"):
        found(tmp_path)
    with pytest.raises(InputError, match="no images"):
        found("-", stdin=io.BytesIO(b""))


def test_one_missing_picture_among_others_is_left_to_its_row(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    assert found(tmp_path / "1.png", tmp_path / "no.png") == [("1.png", ""), ("no.png", "")]


@pytest.mark.fault(21, "skipped and said; --follow-links takes it")
def test_links_out_of_a_directory_are_skipped_unless_asked(tmp_path: Path) -> None:
    touch(tmp_path, "outside.png", "root/in.png")
    (tmp_path / "root/out.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "root/alias.png").symlink_to(tmp_path / "root/in.png")
    said: list[str] = []
    assert found(tmp_path / "root", say=said.append) == [("alias.png", ""), ("in.png", "")]
    assert len(said) == 1 and "1 link " in said[0]
    assert len(found(tmp_path / "root", follow_links=True)) == 3


@pytest.mark.fault(21, "so are names in a data set's metadata that lead out of it")
@pytest.mark.parametrize("name", ["../outside.png", "{root}/outside.png", "link.png"])
def test_a_data_set_s_pictures_are_its_own(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "outside.png", "set/in.png")
    (tmp_path / "set/link.png").symlink_to(tmp_path / "outside.png")
    rows = [{"file_name": "in.png"}, {"file_name": name.format(root=tmp_path)}]
    (tmp_path / "set/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said: list[str] = []
    assert found(tmp_path / "set", say=said.append) == [("in.png", "")] and "1 link " in said[0]
    assert len(found(tmp_path / "set", follow_links=True)) == 2


def test_file_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.touch()
    (one,) = inputs.find_inputs([str(tmp_path)])
    assert one.path == path


def test_the_same_picture_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    said: list[str] = []
    assert found(tmp_path / "1.png", tmp_path, say=said.append) == [("1.png", "")]
    assert "1 image given twice is used once" in said[0]


def test_names_are_unique_and_plain(tmp_path: Path) -> None:
    touch(tmp_path, "a/Ünïcode!.png", "b/unicode.png", "c/unicode.png", "d/unicode-2.png", "e/日本.png")
    names = [one.name for one in inputs.find_inputs([str(tmp_path)])]
    assert names == ["unicode", "unicode-2", "unicode-3", "unicode-2-2", "image"]


@given(st.text())
def test_slugs_fit_placeholders_and_file_names(text: Any) -> None:
    assert set(inputs.slug(text)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 0 < len(inputs.slug(text)) <= 40


def test_a_path_a_line_keeps_every_character_but_the_line_break() -> None:
    names = ["\u2028a.png", " b .png", "c\x0cd.png"]
    found = [inputs._from_text("\n".join(names), Path(), None, "stdin")]
    assert [str(one.source) for one in found[0]] == names


# -- links -----------------------------------------------------------------------------------------


@pytest.mark.fault(21, "followed upwards or in circles, each real folder is searched once, and that is said")
def test_links_that_lead_upwards_or_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "root/a/1.png", "root/b/2.png", "elsewhere/3.png")
    (tmp_path / "root/a/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/a/b").symlink_to(tmp_path / "root/b")
    (tmp_path / "root/b/a").symlink_to(tmp_path / "root/a")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root")
    (tmp_path / "root/c").symlink_to(tmp_path / "elsewhere")
    said: list[str] = []
    names = [name for name, _ in found(tmp_path / "root", follow_links=True, say=said.append)]
    assert sorted(names) == ["1.png", "2.png", "3.png"] and "searched before" in said[0]
    said.clear()
    assert [name for name, _ in found(tmp_path / "root", say=said.append)] == ["1.png", "2.png"]
    assert said == [f"{tmp_path}/root: left out: 1 link to a folder outside (--follow-links includes them)"]


def test_a_signal_ends_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    monkeypatch.setattr(interrupts, "_received", [15])
    with pytest.raises(Interrupted):
        found(tmp_path)


# -- what is left out ------------------------------------------------------------------------------


def test_a_folder_says_what_it_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("origcli.images.formats.reads_heic", lambda: False)
    touch(
        tmp_path, "a.jfif", "b.JPE", "c.heic", "d.HEIF", "e.jxl", "notes.txt", "no-suffix", ".g.png", "f.tar"
    )
    said: list[str] = []
    assert [name for name, _ in found(tmp_path, say=said.append)] == ["a.jfif", "b.JPE"]
    assert said == [
        f"{tmp_path}: left out: 1 image hidden by its name",
        f"{tmp_path}: left out: 1 archive or table (name them to read them: {tmp_path / 'f.tar'})",
        f"{tmp_path}: left out: 3 files in unsupported formats: 2 HEIC, 1 JPEG XL (convert them to PNG or "
        "JPEG; HEIC: pip install 'origcli[heif]', or convert it to JPEG or PNG)",
        f"{tmp_path}: left out: 2 files that are not images: .txt, no suffix",
    ]
    said.clear()
    assert found(tmp_path / "*.j*", say=said.append) == [("a.jfif", "")] and "1 JPEG XL" in said[0]
    monkeypatch.setattr("origcli.images.formats.reads_heic", lambda: True)
    assert [name for name, _ in found(tmp_path)] == ["a.jfif", "b.JPE", "c.heic", "d.HEIF"]


def test_a_data_set_says_which_images_it_does_not_list(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "c.png", "notes.txt")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "images/a.png"}\n')
    said: list[str] = []
    assert found(tmp_path, say=said.append) == [("a.png", "")]
    assert said == [f"{tmp_path}: left out: 2 images, the first c.png, not in metadata.jsonl"]


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    listed = os.scandir

    def scandir(path: str) -> Any:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    said: list[str] = []
    assert found(tmp_path, say=said.append) == [("2.png", "b")]
    assert said == [f"{tmp_path}: left out: a folder that cannot be read: {tmp_path}/a: Permission denied"]


@pytest.mark.parametrize("name", [b"not utf8 \xe9", b"two\nlines"])
def test_what_is_left_out_fits_into_a_report(name: bytes, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(name)
    touch(root, "a.png", os.fsdecode(b"x." + name))
    beside: list[LeftOut] = []
    assert found(root, left_out=beside) == [("a.png", "")]
    (one,) = beside
    assert path_of(one.where) == root and one.what.startswith("1 file that is not an image: .")
    assert LeftOut.model_validate_json(one.model_dump_json()) == one


# -- lists as people write them --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "path;group\n1.png;common\n",
        "sep=;\r\npath;group\r\n1.png;common\r\n",
        "path, group\n1.png, common\n",
        " path , group \n1.png, common\n",
        "path\tgroup\n1.png\tcommon\n",
        '"group";"path"\n"common";"1.png"\n',
        "group,path\ncommon,1.png\n\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_any_spreadsheet(tmp_path: Path, text: str, encoding: str) -> None:
    touch(tmp_path, "1.png")
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    assert found(tmp_path / "list.csv") == [("1.png", "common")]


def test_a_list_without_rows_is_said_to_have_none(tmp_path: Path) -> None:
    for text, words in (
        ("path,group\n", "a list without images"),
        ("path;group\n;x\n", "a list without images"),
        ("", "no column 'path'"),
    ):
        (tmp_path / "list.csv").write_text(text)
        with pytest.raises(InputError, match=words):
            found(tmp_path / "list.csv")


def test_names_with_spaces_and_semicolons_stay_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, " a;b .png")
    (tmp_path / "list.csv").write_text("path,group\n a;b .png,x\n")
    assert found(tmp_path / "list.csv") == [(" a;b .png", "x")]


def test_home_directories_in_lists_and_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "home/1.png", "list.csv", "~nobody-of-this-name.png")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "list.csv").write_text("path\n~/1.png\n")
    for argument in (tmp_path / "list.csv", "~/1.png", "~/*.png"):
        (one,) = inputs.find_inputs([str(argument)])
        assert one.path == tmp_path / "home/1.png"
    monkeypatch.chdir(tmp_path)
    assert found("~nobody-of-this-name.png") == [("~nobody-of-this-name.png", "")]
