"""Errors keep their remedy between processes, and show no secrets."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli import errors
from origcli.errors import Interrupted, OrigError, without_secrets
from origcli.runtime.progress import one_line

KINDS = [kind for kind in OrigError.__subclasses__() if kind is not Interrupted]


@pytest.mark.parametrize("problem", [*(kind("what", "remedy") for kind in KINDS), Interrupted(15)], ids=repr)
def test_an_error_of_another_process_is_the_same(problem: OrigError) -> None:
    found = pickle.loads(pickle.dumps(problem))  # noqa: S301
    assert type(found) is type(problem) and str(found) == str(problem)
    assert (found.message, found.hint, found.exit_code) == (problem.message, problem.hint, problem.exit_code)


@pytest.mark.fault(34, "no address in an error, a remark or run.json shows it")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host:8/a: gone", "https://host:8/a: gone"),
        ("a http://secret@host b https://x:secret@y/z", "a http://host b https://y/z"),
        ("socks5://u:p%40secret@proxy:1080", "socks5://proxy:1080"),
        ("GET https://cdn/x?X-Amz-Signature=secret&e=1 failed", "GET https://cdn/x?… failed"),
        ("('https://cdn/x?t=secret')", "('https://cdn/x?…')"),
        ("mail me@host, /a@b/c.png, what? no", "mail me@host, /a@b/c.png, what? no"),
    ],
)
def test_addresses_show_no_secrets(text: str, shown: str) -> None:
    assert without_secrets(text) == shown == one_line(text)
    problem = errors.ModelError(text, text)
    assert (problem.message, problem.hint, str(problem)) == (shown, shown, shown)


@given(st.text())
def test_any_text_is_shown_and_showing_it_twice_is_showing_it_once(text: str) -> None:
    once = without_secrets(text)
    assert without_secrets(once) == once
