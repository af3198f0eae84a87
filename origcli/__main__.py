"""The program `origcli`, also as `python -m origcli`, and so `accelerate launch -m origcli train-unet …`."""

import sys

from origcli.errors import DeviceError
from origcli.runtime.machine import require_posix


def main() -> None:
    """Runs the command line, on a system that can run it."""
    try:
        require_posix()
    except DeviceError as problem:
        from origcli.cli import present

        present.error(problem)
        sys.exit(int(problem.exit_code))
    from origcli.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
