import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import InputError
from origcli.images import inputs


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(*arguments, **options) -> list[tuple[str, str]]:
    return [(one.path.name, one.group) for one in inputs.find_inputs([str(a) for a in arguments], **options)]


def test_a_file_is_itself(tmp_path):
    touch(tmp_path, "a photo.JPG")
    (one,) = inputs.find_inputs([str(tmp_path / "a photo.JPG")])
    assert one == inputs.Input(tmp_path / "a photo.JPG", "a-photo", "")


def test_folders_of_a_directory_are_groups(tmp_path):
    touch(tmp_path, "x.txt", ".hidden/h.png", "b.png", "houses/original/2.webp", "houses/common/1.png")
    assert found(tmp_path) == [("b.png", ""), ("1.png", "houses/common"), ("2.webp", "houses/original")]


def test_several_directories_are_groups_themselves(tmp_path):
    touch(tmp_path, "common/1.png", "original/2.png", "original/deep/3.png")
    assert found(tmp_path / "common", tmp_path / "original/") == [
        ("1.png", "common"),
        ("2.png", "original"),
        ("3.png", "original/deep"),
    ]


def test_a_glob_groups_by_what_its_wildcards_stand_for(tmp_path):
    touch(tmp_path, "common/1.png", "original/2.png", "original/notes.txt")
    assert found(tmp_path / "*" / "*") == [("1.png", "common"), ("2.png", "original")]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path):
    touch(tmp_path, "a[1].png")
    assert found(tmp_path / "a[1].png") == [("a[1].png", "")]


def test_a_csv_list_has_paths_relative_to_itself_and_groups(tmp_path):
    touch(tmp_path, "p/1.png", "p/2.png")
    (tmp_path / "list.csv").write_text("group,path,kind\noriginal,p/1.png,art\ncommon,p/2.png,\n")
    assert found(tmp_path / "list.csv") == [("1.png", "original"), ("2.png", "common")]
    assert found(tmp_path / "list.csv", group_column="kind") == [("1.png", "art"), ("2.png", "")]
    with pytest.raises(InputError, match="'colour'"):
        found(tmp_path / "list.csv", group_column="colour")


def test_a_csv_list_without_a_path_column_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column is called 'path'"):
        found(tmp_path / "list.csv")


def test_a_data_set_directory_has_its_categories_as_groups(tmp_path):
    touch(tmp_path, "images/000/000000.png", "images/000/000001.png")
    rows = [{"file_name": f"images/000/00000{i}.png", "category": c} for i, c in enumerate(["rare", None])]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert found(tmp_path) == [("000000.png", "rare"), ("000001.png", "")]
    (tmp_path / "metadata.jsonl").write_text('{"text": "no file"}')
    with pytest.raises(InputError, match="metadata"):
        found(tmp_path)


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_stdin_is_a_list_of_paths(tmp_path, monkeypatch, separator):
    touch(tmp_path, "1.png", "2, with comma.png")
    monkeypatch.chdir(tmp_path)
    data = separator.join(["1.png", "2, with comma.png", ""]).encode()
    assert found("-", stdin=io.BytesIO(data)) == [("1.png", ""), ("2, with comma.png", "")]


def test_stdin_may_be_a_csv_list(tmp_path, monkeypatch):
    touch(tmp_path, "1.png")
    monkeypatch.chdir(tmp_path)
    assert found("-", stdin=io.BytesIO(b"\xef\xbb\xbfpath,group\n1.png,x\n")) == [("1.png", "x")]


@pytest.mark.fault(5, "exit 3 before any work when there is no picture at all")
def test_nothing_there_is_told_at_once(tmp_path):
    with pytest.raises(InputError, match=r"nosuch\.jpg: no such file$"):
        found(tmp_path / "nosuch.jpg")
    with pytest.raises(InputError, match="no pictures"):
        found(tmp_path)
    with pytest.raises(InputError, match="no pictures"):
        found("-", stdin=io.BytesIO(b""))


def test_one_missing_picture_among_others_is_left_to_its_row(tmp_path):
    touch(tmp_path, "1.png")
    assert found(tmp_path / "1.png", tmp_path / "no.png") == [("1.png", ""), ("no.png", "")]


@pytest.mark.fault(21, "skipped and said; --follow-links takes it")
def test_links_out_of_a_directory_are_skipped_unless_asked(tmp_path):
    touch(tmp_path, "outside.png", "root/in.png")
    (tmp_path / "root/out.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "root/alias.png").symlink_to(tmp_path / "root/in.png")
    said = []
    assert found(tmp_path / "root", say=said.append) == [("alias.png", ""), ("in.png", "")]
    assert len(said) == 1 and "1 links" in said[0]
    assert len(found(tmp_path / "root", follow_links=True)) == 3


@pytest.mark.fault(21, "so are names in a data set's metadata that lead out of it")
@pytest.mark.parametrize("name", ["../outside.png", "{root}/outside.png", "link.png"])
def test_a_data_set_s_pictures_are_its_own(tmp_path, name):
    touch(tmp_path, "outside.png", "set/in.png")
    (tmp_path / "set/link.png").symlink_to(tmp_path / "outside.png")
    rows = [{"file_name": "in.png"}, {"file_name": name.format(root=tmp_path)}]
    (tmp_path / "set/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = []
    assert found(tmp_path / "set", say=said.append) == [("in.png", "")] and "1 links" in said[0]
    assert len(found(tmp_path / "set", follow_links=True)) == 2


def test_file_names_that_are_not_utf8_are_kept(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.touch()
    (one,) = inputs.find_inputs([str(tmp_path)])
    assert one.path == path


def test_the_same_picture_counts_once(tmp_path):
    touch(tmp_path, "1.png")
    said = []
    assert found(tmp_path / "1.png", tmp_path, say=said.append) == [("1.png", "")]
    assert "1 pictures named twice" in said[0]


def test_names_are_unique_and_plain(tmp_path):
    touch(tmp_path, "a/Ünïcode!.png", "b/unicode.png", "c/unicode.png", "d/unicode-2.png", "e/日本.png")
    names = [one.name for one in inputs.find_inputs([str(tmp_path)])]
    assert names == ["unicode", "unicode-2", "unicode-3", "unicode-2-2", "image"]


@given(st.text())
def test_slugs_fit_placeholders_and_file_names(text):
    assert set(inputs.slug(text)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 0 < len(inputs.slug(text)) <= 40


def test_a_path_a_line_keeps_every_character_but_the_line_break():
    names = ["\u2028a.png", " b .png", "c\x0cd.png"]
    found = [inputs._from_text("\n".join(names).encode(), Path(), None, "stdin")]
    assert [str(path) for path, _ in found[0]] == names
