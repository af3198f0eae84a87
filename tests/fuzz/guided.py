"""Fuzzing led by coverage, where atheris installs (Linux on x86): it grows the inputs that reach new code.

    pip install atheris==3.0.0
    python -m tests.fuzz.guided test_files test_any_picture_is_answered -max_total_time=120

The inputs are drawn as the tests draw them. What follows the test's name is libFuzzer's. A finding ends it
with the traceback, and the bytes that it came from lie in a file `crash-…`.
"""

import importlib
import sys

import atheris


def main() -> None:
    module, name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["origcli"]):
        test = getattr(importlib.import_module(f"tests.fuzz.{module}"), name)
    # The tests keep the time themselves, by the signal that libFuzzer would take.
    atheris.Setup([sys.argv[0], "-handle_alrm=0", *options], test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
