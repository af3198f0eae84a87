"""The commands as functions, for notebooks and programs: `from origcli import score, invert, synth`.

Each does what its command does, with the same settings and the same files, and returns what it found.
Words that a function does not name are set by `settings`, a tree like that of a configuration file:
`score("photo.jpg", settings={"invert": {"steps": 500}, "draw": {"guidance": 5}})`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from origcli.errors import nearest
from origcli.files import expanded
from origcli.runtime.distributed import alone
from origcli.runtime.progress import load_tqdm, open_progress
from origcli.runtime.run_place import existing, place_of, request_of

if TYPE_CHECKING:
    from PIL import Image

    from origcli.images.inputs import Input
    from origcli.reports.compare import CompareReport
    from origcli.reports.schema import (
        CalibrateReport,
        DetectReport,
        InvertReport,
        ScoreReport,
        TrainDetectorReport,
        TrainTransformerReport,
        TrainUnetReport,
        TrainVaeReport,
    )
    from origcli.runtime.context import Runtime
    from origcli.scenes.dataset import Dataset
    from origcli.settings import Settings

load_tqdm()  # before any library does

_TRAININGS = ("vae", "unet", "transformer", "detector")  # what may run in the processes of one launch

_ACCEPTED = (
    "give one path (str or os.PathLike) or several; save an image that is in memory to a file first, "
    "e.g. image.save('image.png')"
)

AnyPath = str | PathLike[str]
Paths = AnyPath | Sequence[AnyPath]


class Run(TypedDict, total=False):
    """How a function runs; every key may be left out.

    Attributes:
        out: directory of the run; by default one under `runs/`.
        resume: resume the run in `out`.
        force: overwrite `out`.
        preset: names layered on the paper's numbers, as a list or as --preset takes them; by default
            ("small", "fast").
        config: a TOML file.
        settings: section -> field -> value; before `config` and the environment, as flags are.
        seed, device, dtype: of `settings["runtime"]`.
        quiet: no progress and no remarks.
    """

    out: AnyPath
    resume: bool
    force: bool
    preset: str | Sequence[str]
    config: AnyPath
    settings: Mapping[str, Mapping[str, Any]]
    seed: int
    device: str
    dtype: str
    quiet: bool


def score(
    images: Paths,
    *,
    model: str | None = None,
    max_tokens: int | None = None,
    metric: str | None = None,
    threshold: float | None = None,
    reference: AnyPath | None = None,
    **run: Unpack[Run],
) -> "ScoreReport":
    """Measures how original images are to a model; `origcli score`.

    Args:
        images: files, directories, globs or lists, as the command takes them.
        model: a name (shapes, sd15, sdxl, flux-dev …), a pipeline directory or a hub id.
        max_tokens: M, the most tokens to learn.
        metric: a metric's name, as `--metric` takes it.
        threshold: distance that counts as redrawn.
        reference: score report of a reference set.

    Raises:
        OrigError: as the command would end with its exit status. Images that cannot be read are no
            error but `report.errors`.
        TypeError: several models; score each, then `compare` the runs.
    """
    if model is not None and not isinstance(model, str | PathLike):
        raise TypeError("score takes one model: score with each, then origcli.compare([run, run])")

    from origcli.reports.writers import read_report
    from origcli.runtime.cache import SCORES, find_cache
    from origcli.scoring.run import Request, score_images

    words = {
        "model": model,
        "max_tokens": max_tokens,
        "metric": metric,
        "threshold": threshold,
        "reference": None if reference is None else str(reference),
    }
    settings = _settings(run, score=words)
    inputs = _inputs(images)
    with _opened(settings, run, "score", [one.name for one in inputs]) as runtime:
        score_images(Request(inputs, cache=find_cache(SCORES, runtime.progress.say)), settings, runtime)
        return read_report(runtime.out, "score")  # type: ignore[return-value]


def compare(runs: Sequence[AnyPath], *, out: AnyPath | None = None, force: bool = False) -> "CompareReport":
    """Compares score runs of the same images under two or more models; `origcli compare`.

    Args:
        runs: directories of score runs, or their report.json; each is held against the first.
        out: directory for report.json, report.csv and report.html; by default one under `runs/`.
        force: overwrite `out`.

    Raises:
        InputError: one is no score report of this version, or they have no image in common.
        UsageError: there are fewer than two, they do not match, or `out` is not empty.
    """
    from origcli.runtime.provenance import hash_value
    from origcli.runtime.run_directory import RunDirectory
    from origcli.scoring.compare import compare_runs, write_comparison

    if isinstance(runs, str | PathLike):
        raise TypeError("compare takes several runs: give a list of their directories")
    report, compared = compare_runs([_path(run) for run in runs])
    asked = None if out is None else _path(out)
    name = compared[-1].directory.resolve().name
    request = hash_value(["compare", *(str(run.directory) for run in compared)])
    with RunDirectory(place_of("compare", asked, [name], request, resume=False, force=force)) as directory:
        write_comparison(directory.path, report, compared)
    return report


def calibrate(
    images: Paths = (),
    *,
    model: str | None = None,
    metric: str | None = None,
    captions: int | None = None,
    own_samples: int | None = None,
    controls: int | None = None,
    captions_file: AnyPath | None = None,
    queries: int = 60,
    psnr_images: int = 500,
    write: bool = False,
    **run: Unpack[Run],
) -> "CalibrateReport":
    """Measures a model's threshold, ceiling and PSNR limit; `origcli calibrate`.

    Args:
        images: held-out images as the command takes them; none: the model's own samples.
        model: a name (shapes, sd15, sdxl, flux-dev …), a pipeline directory or a hub id.
        metric: a metric's name, as `--metric` takes it.
        captions: number of captions (own samples).
        own_samples: samples of each caption (own samples).
        controls: samples that one token has to bring back, the positive control (own samples).
        captions_file: one caption a line, in place of the bundled ones (own samples).
        queries: captioned images for the threshold (held-out images).
        psnr_images: maximum number of images for the PSNR limit (held-out images).
        write: write the constants to the model directory's registry.json.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.runtime.cache import SCORES, find_cache
    from origcli.scoring.calibrate import calibrate_model
    from origcli.scoring.store import Store
    from origcli.weights.pipelines import pipeline_name

    own = {"captions": captions, "samples": own_samples, "controls": controls}
    settings = _settings(run, score={"model": model, "metric": metric}, calibrate=own)
    name = pipeline_name(Path(settings.score.model))
    with _opened(settings, run, "calibrate", [name]) as runtime:
        kept = find_cache(SCORES, runtime.progress.say)
        return calibrate_model(
            _words(images),
            queries,
            psnr_images,
            settings,
            runtime,
            write,
            store=None if kept is None else Store(kept),
            captions=None if captions_file is None else _path(captions_file),
        )


def invert(
    images: Paths,
    tokens: Sequence[int] = (1, 2, 3, 4, 5),
    *,
    model: str | None = None,
    **run: Unpack[Run],
) -> "InvertReport":
    """Learns the tokens that make a model redraw images; `origcli invert`.

    Args:
        images: files, directories, globs or lists, as the command takes them.
        tokens: the numbers of tokens m to learn.
        model: a name (shapes, sd15, sdxl, flux-dev …), a pipeline directory or a hub id.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.inversion import sweep
    from origcli.reports.writers import read_report

    settings = _settings(run, score={"model": model})
    inputs = _inputs(images)
    counts = sorted(set(tokens))
    with _opened(settings, run, "invert", [one.name for one in inputs], tokens=counts) as runtime:
        sweep.run(inputs, counts, settings, runtime)
        return read_report(runtime.out, "invert")  # type: ignore[return-value]


def draw(
    prompts: str | Sequence[str],
    *,
    model: str = "shapes",
    images: int = 1,
    embeddings: AnyPath | None = None,
    **run: Unpack[Run],
) -> "list[Image.Image]":
    """Draws pictures, one seed each; `origcli draw`.

    Args:
        prompts: one or several; `{S}` stands for the learned tokens of `embeddings`.
        model: a name (shapes, sd15, sdxl, flux-dev …), a pipeline directory or a hub id.
        images: how many of each prompt.
        embeddings: a file of learned tokens.

    Returns:
        The pictures, RGB, those of the first prompt first.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from PIL import Image

    from origcli.inversion.drawing import draw_images
    from origcli.weights.pipelines import pipeline_name

    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    file = None if embeddings is None else _path(embeddings)
    settings = _settings(run)
    with _opened(settings, run, "draw", [pipeline_name(Path(model))]) as runtime:
        rows = draw_images(model, texts, images, settings, runtime, embeddings=file)
        return [Image.open(row["file"], formats=["PNG"]).convert("RGB") for row in rows]


def detect(images: Paths, *, detector: AnyPath = "shapes", **run: Unpack[Run]) -> "DetectReport":
    """Lists the elements that pictures show; `origcli detect`. Writes nothing.

    Args:
        images: files, directories, globs or lists, as the command takes them.
        detector: shapes, or what `train_detector` wrote.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.detection import reporting
    from origcli.runtime.context import open_runtime

    settings = _settings(run)
    with alone(), open_runtime(settings.runtime, None, open_progress(run.get("quiet", False))) as runtime:
        return reporting.detect_images(_inputs(images), str(detector), settings, runtime)


def synth(directory: AnyPath, *, count: int | None = None, **run: Unpack[Run]) -> "Dataset":
    """Makes a data set of colored shapes; `origcli synth`.

    Args:
        directory: where it goes.
        count: how many pictures.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.runtime.machine import cores
    from origcli.scenes.mixtures import Recipe
    from origcli.scenes.writing import write_dataset

    settings = _settings(run, synth={"count": count})
    return write_dataset(
        Recipe(settings.synth, settings.runtime.seed),
        _path(directory),
        workers=settings.runtime.threads or cores(),
        existing=existing(run.get("resume", False), run.get("force", False)),
        progress=open_progress(run.get("quiet", False)),
    )


def train_vae(dataset: AnyPath, **run: Unpack[Run]) -> "TrainVaeReport":
    """Trains a VAE from scratch on a data set; `origcli train-vae`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.training import vae

    settings = _settings(run)
    with _opened(settings, run, "vae", [_path(dataset).name]) as runtime:
        return vae.run(_path(dataset), settings, runtime, resume=run.get("resume", False))


def train_unet(dataset: AnyPath, vae: AnyPath, **run: Unpack[Run]) -> "TrainUnetReport":
    """Trains a UNet from scratch on the latents of a VAE; `origcli train-unet`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.training import unet

    settings = _settings(run)
    with _opened(settings, run, "unet", [_path(dataset).name]) as runtime:
        return unet.run(_path(dataset), _path(vae), settings, runtime, resume=run.get("resume", False))


def train_transformer(dataset: AnyPath, vae: AnyPath, **run: Unpack[Run]) -> "TrainTransformerReport":
    """Trains a small transformer of Stable Diffusion 3's kind from scratch; `origcli train-transformer`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.training import transformer

    settings, resume = _settings(run), run.get("resume", False)
    with _opened(settings, run, "transformer", [_path(dataset).name]) as runtime:
        return transformer.run(_path(dataset), _path(vae), settings, runtime, resume=resume)


def train_detector(datasets: Paths, **run: Unpack[Run]) -> "TrainDetectorReport":
    """Trains YOLOv8 to find and count elements; `origcli train-detector`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.training import detector

    paths = [_path(word) for word in _words(datasets)]
    settings = _settings(run)
    with _opened(settings, run, "detector", [path.name for path in paths[:1]]) as runtime:
        return detector.run(paths, settings, runtime, resume=run.get("resume", False))


def _path(path: AnyPath) -> Path:
    return Path(expanded(str(path)))


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
        config: of a single file: sd15, sd21, sd21-base, sdxl, a pipeline directory or a Hub id.
        prediction: epsilon or v_prediction, where the file does not say it.
        dtype: stored, fp16, bf16 or fp32.
        force: overwrite an earlier import in `out`.
        offline: no network.

    Returns:
        What `source.json` in `out` holds: the hashes of all files that went in, and what they changed.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.models.importing.build import Request, build
    from origcli.settings import resolve

    request = Request(
        expanded(str(model)),
        _path(out),
        loras=[expanded(str(word)) for word in loras],
        vae=None if vae is None else expanded(str(vae)),
        config=None if config is None else expanded(str(config)),
        dtype=dtype,
        prediction=prediction,
        force=force,
    )
    settings = resolve({} if offline is None else {"runtime": {"offline": offline}})[0]
    return build(request, settings.runtime, open_progress(quiet))


def _words(paths: Paths) -> list[str]:
    """Paths as words of a command.

    Raises:
        TypeError: something else, such as an image in memory, which has no file that a report could name.
    """
    words = [paths] if isinstance(paths, str | PathLike) else paths
    if not isinstance(words, Iterable) or hasattr(words, "__array__"):
        raise TypeError(f"{_kind(words)}: {_ACCEPTED}")
    found = list(words)
    for word in found:
        if not isinstance(word, str | PathLike):
            raise TypeError(f"{_kind(word)}: {_ACCEPTED}")
    return [os.fsdecode(word) for word in found]


def _kind(value: object) -> str:
    """The name of something that is not a path, for an error."""
    return f"{type(value).__module__}.{type(value).__qualname__} is not accepted".removeprefix("builtins.")


def _inputs(images: Paths) -> "list[Input]":
    from origcli.images.inputs import find_inputs

    return find_inputs(_words(images))


def _settings(run: Run, **sections: Mapping[str, Any]) -> "Settings":
    """The effective settings: the words of the call before `settings`, these before all else.

    Raises:
        TypeError: a word that no function knows; ignored, it would be a wrong result.
    """
    from origcli.settings import preset_names, resolve

    for word in run.keys() - Run.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {word!r}: {nearest(word, Run.__annotations__)}")
    given = {name: dict(values) for name, values in run.get("settings", {}).items()}
    own = {"seed": run.get("seed"), "device": run.get("device"), "dtype": run.get("dtype")}
    for name, values in {**sections, "runtime": own}.items():
        named = {field: value for field, value in values.items() if value is not None}
        given[name] = {**given.get(name, {}), **named}
    config, preset = run.get("config"), run.get("preset")
    names = preset_names(preset) if isinstance(preset, str) else preset
    return resolve(given, presets=names, config=None if config is None else _path(config))[0]


@contextmanager
def _opened(
    settings: "Settings", run: Run, command: str, names: Sequence[str], **more: Any
) -> "Iterator[Runtime]":
    from origcli.runtime.context import open_runtime

    resume, force = run.get("resume", False), run.get("force", False)
    asked = None if run.get("out") is None else _path(run["out"])
    place = place_of(command, asked, names, request_of(command, settings, names, **more), resume, force)
    progress = open_progress(run.get("quiet", False))
    with (
        alone(trains=command in _TRAININGS),
        open_runtime(settings.runtime, place, progress) as runtime,
    ):
        yield runtime
    progress.say(f"{command}: {runtime.given}")
