"""`origcli fetch`: downloads models and metrics ahead of a run, and lists what is here."""

from typing import TYPE_CHECKING, Annotated, Any

from origcli.cli import options, present
from origcli.cli.binding import argument, flag, option
from origcli.cli.run import Run, command
from origcli.errors import UsageError

if TYPE_CHECKING:
    from origcli.weights.fetchable import State

COLUMNS = ("name", "state", "gigabytes", "variant", "what", "license", "source", "path")
SHOWN = tuple(name for name in COLUMNS if name != "source")  # an address fills a terminal


@command({"offline", "form", "quiet"})
def fetch(
    names: Annotated[
        list[str] | None,
        argument(
            "NAME",
            "A name of `origcli fetch --list`, or OWNER/NAME[@REVISION] of the hub.",
            autocompletion=lambda: _names(),
        ),
    ] = None,
    show: Annotated[bool, flag("--list", "List what can be downloaded and what is here.")] = False,
    verify: Annotated[
        bool,
        flag("--verify", "Check the files that are here against the hashes recorded at download."),
    ] = False,
    variant: Annotated[
        str | None,
        option(
            "--variant",
            "NAME",
            "fp16: weight files of half the size, for --dtype fp16. [default: the full ones]",
            words=("fp16",),
        ),
    ] = None,
    *,
    run: Run,
) -> None:
    """Download models and metrics ahead of time, so that later runs need no network.

    Models of the Hub go into its cache (HF_HOME), everything else into ORIGCLI_CACHE. Interrupted downloads
    resume; every file is checked by hash; only safetensors are downloaded. With --offline nothing is
    downloaded, and the exit status is 4 if something is missing.

    \b
    Examples:
      origcli fetch sd15 dreamsim clip
      origcli fetch someone/their-model@main --variant fp16
      origcli fetch --list
      origcli fetch --verify
      origcli fetch sd15 dreamsim --offline
    """
    from origcli.runtime.cache import cache_directory
    from origcli.scoring import fetching

    if not names and not (show or verify):
        raise UsageError(
            "nothing to download", "name a model or metric; list them with: origcli fetch --list"
        )
    stay = show or verify or run.settings.runtime.offline
    if not stay:
        cache_directory()  # where there is none, nothing that is fetched would stay
    wanted = names or fetching.names()
    states = fetching.fetch_all(wanted, run.progress, stay=stay, verify=verify, variant=variant)
    shown = SHOWN if run.form is options.Format.table else COLUMNS
    rows = [_row(state) for state in states]
    present.rows(rows, shown, run.form, drop=("path", "license", "variant"))
    fetching.check_fetched(states, missing_is_wrong=bool(names) and not show)


def _names() -> list[str]:
    from origcli.scoring.fetching import names

    return list(names())


def _row(state: "State") -> dict[str, Any]:
    return {
        "name": state.name,
        "state": state.problem or ("here" if state.path else "not here"),
        "gigabytes": _gigabytes(state),
        "variant": state.variant,
        "what": state.what,
        "license": state.terms,
        "source": state.source,
        "path": str(state.path) if state.path else None,
    }


def _gigabytes(state: "State") -> float | None:
    """What it takes here; before it is here, about what there is to download."""
    if state.path:
        return round(state.bytes / 1e9, 3)
    return None if state.download is None else round(state.download / 1e9, 1)
