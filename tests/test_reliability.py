"""docs/reliability.md says what the tests show, and every fault of the list has a test."""

from pathlib import Path

import pytest

from tests.reliability import FAULTS, PAGE, fault_marks, main, page, table


def test_the_page_is_what_the_tests_say() -> None:
    now = PAGE.read_text("utf-8")
    assert page(now) == now, "python -m tests.reliability --update"
    assert main(["--check"]) == 0 and main([]) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_tested(fault: int) -> None:
    assert [one for one in fault_marks() if one.fault == fault]


def test_no_mark_is_of_another_list() -> None:
    assert {one.fault for one in fault_marks()} == set(FAULTS)


def test_marks_are_read_from_the_source(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        "import pytest\n@pytest.mark.fault(2, 'b')\n@pytest.mark.slow\n@pytest.mark.fault(1, 'a')\n"
        "def test_one() -> None: ...\n@pytest.mark.fault(3, 'c')\ndef test_two() -> None: ...\n"
    )
    assert fault_marks(tmp_path) == [
        (1, "a", "tests/test_it.py::test_one", True),
        (2, "b", "tests/test_it.py::test_one", True),
        (3, "c", "tests/test_it.py::test_two", False),
    ]
    slow, quick = table(fault_marks(tmp_path)).splitlines()[-2:]
    assert slow.endswith("`tests/test_it.py::test_one` (slow) |") and "slow" not in quick
