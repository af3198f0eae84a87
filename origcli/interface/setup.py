"""`import_model`, `fetch` and `doctor`: models and machines made ready."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from origcli.files import expanded
from origcli.interface.calling import AnyPath, Call, Preset, SettingsTree, as_path, checked, settings_of
from origcli.runtime.progress import open_progress

if TYPE_CHECKING:
    from origcli.scoring.diagnosis import Diagnosis
    from origcli.weights.fetchable import State

_DOCTOR = {"model": "score.model", "metric": "score.metric", "detector": "score.detector"}


@checked
def import_model(
    model: AnyPath,
    out: AnyPath,
    *,
    loras: Sequence[AnyPath] = (),
    vae: AnyPath | None = None,
    config: AnyPath | None = None,
    prediction: str | None = None,
    dtype: str = "stored",
    force: bool = False,
    offline: bool | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Makes a pipeline directory of a single file, LoRAs or another VAE; `origcli import`.

    Args:
        model: a single .safetensors file, a pipeline directory, a known model or a Hub id.
        out: the directory to write.
        loras: `FILE` or `FILE@SCALE` each.
        vae: a file or directory with another VAE.
        config: of a single file: sd15, sd21, sd21-base, sdxl, a pipeline directory or a Hub id; of one of
            Stable Diffusion 3 or FLUX, the model that the missing parts are taken from.
        prediction: epsilon or v_prediction, where the file does not say it.
        dtype: stored, fp16, bf16 or fp32.
        force: overwrite an earlier import in `out`.
        offline: no network.
        quiet: no progress and no remarks.

    Returns:
        What `source.json` in `out` holds: the hashes of all files that went in, and what they changed.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.models.importing.build import Request, build

    request = Request(
        expanded(str(model)),
        as_path(out),
        loras=[expanded(str(word)) for word in loras],
        vae=None if vae is None else expanded(str(vae)),
        config=None if config is None else expanded(str(config)),
        dtype=dtype,
        prediction=prediction,
        force=force,
    )
    given = {} if offline is None else {"runtime.offline": offline}
    return build(request, settings_of(given).runtime, open_progress(quiet))


@checked
def fetch(
    names: str | Sequence[str],
    *,
    verify: bool = False,
    variant: str | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "list[State]":
    """Downloads models and metrics ahead of time; `origcli fetch`.

    Args:
        names: one or several of those that `origcli fetch --list` shows, or Hub ids OWNER/NAME[@REVISION].
        verify: download nothing; compare what is here with the hashes recorded when it came.
        variant: "fp16" for weight files of half the size.
        offline: download nothing; look at what is here.
        quiet: no progress and no remarks.

    Returns:
        What is here of each, and where.

    Raises:
        ModelError: one is missing or damaged, and cannot be downloaded.
        UsageError: an unknown name.
    """
    from origcli.scoring.fetching import check_fetched, fetch_all

    given = {} if offline is None else {"runtime.offline": offline}
    stay = verify or settings_of(given).runtime.offline
    wanted = [names] if isinstance(names, str) else list(names)
    states = fetch_all(wanted, open_progress(quiet), stay=stay, verify=verify, variant=variant)
    check_fetched(states, missing_is_wrong=True)
    return states


@checked
def doctor(
    *,
    model: str | None = None,
    metric: str | None = None,
    detector: AnyPath | None = None,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    device: str | None = None,
) -> "Diagnosis":
    """Checks that this machine is ready for a score; `origcli doctor`. Asks no network.

    Args:
        model, metric, detector: as of `score`.
        preset, config, settings, device: as of `score`.

    Returns:
        What was looked at, whether a score could run (`ready`), and a sentence about it (`summary`).

    Raises:
        UsageError: not a model's or a metric's name.
    """
    from origcli.scoring.diagnosis import diagnose

    return diagnose(Call.of("doctor", locals(), _DOCTOR).settings)
