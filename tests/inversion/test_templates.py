"""Prompt templates: the lists that ship, files, slots."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import InputError, UsageError
from origcli.inversion.templates import SLOT, fill, read_templates, without_slot
from origcli.settings import resolve

words = st.text(st.characters(categories=["L", "N", "Zs"], include_characters="{}"), max_size=20).filter(
    lambda text: SLOT not in text
)


def test_object_list_is_that_of_textual_inversion() -> None:
    templates = read_templates("object")
    assert len(templates) == 27
    assert templates[0] == "a photo of a {S}" and templates[-1] == "a photo of a small {S}"


def test_photo_is_the_prompt_that_the_measure_draws_from() -> None:
    assert read_templates("photo") == (resolve({}, environment={})[0].score.prompt,)


@pytest.mark.parametrize("name", ["object", "art"])
def test_shipped_lists_have_distinct_templates_in_lower_case(name: str) -> None:
    templates = read_templates(name)
    assert len(set(templates)) == len(templates) >= 20
    assert all(template.replace(SLOT, "") == template.replace(SLOT, "").lower() for template in templates)


def test_file_has_one_template_a_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# mine\n\n  a sketch of {S}  \nété avec {S}, {x}\n", "utf-8")
    assert read_templates(str(path)) == ("a sketch of {S}", "été avec {S}, {x}")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_template(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("a sketch of {S}\r\n".encode(encoding))
    assert read_templates(str(path)) == ("a sketch of {S}",)


@pytest.mark.parametrize(
    "content", [b"", b"# only a remark\n", b"a photo of a cat\n", b"{S} and {S}\n", b"\xff{S}\n", None]
)
def test_bad_files_are_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.txt"):
        read_templates(str(path))


@given(words, words, words)
def test_fill_puts_words_where_the_slot_is(before: str, filling: str, after: str) -> None:
    assert fill(f"{before}{SLOT}{after}", filling) == f"{before}{filling}{after}"


def test_without_slot_leaves_no_gap() -> None:
    assert without_slot("a photo of {S}") == "a photo of"
    assert without_slot("the {S} under soft light") == "the under soft light"


def test_a_prompt_without_a_slot_is_refused() -> None:
    with pytest.raises(UsageError, match="must have one"):
        fill("a photo of a cat", "x")
