"""`score`, `Scorer`, `compare` and `calibrate`: the measure of originality."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from origcli.interface.calling import (
    DRAWING,
    MEASURE,
    AnyPath,
    Call,
    Images,
    Preset,
    SettingsTree,
    as_path,
    as_paths,
    checked,
    inputs_of,
)

if TYPE_CHECKING:
    from origcli.images.inputs import Input
    from origcli.reports.compare import CompareReport
    from origcli.reports.envelope import LeftOut
    from origcli.reports.schema import CalibrateReport, ScoreReport
    from origcli.scoring.models import Models
    from origcli.scoring.run import Request

_CALIBRATE = {
    **DRAWING,
    "model": "score.model",
    "metric": "score.metric",
    "detector": "score.detector",
    "samples": "score.samples",
    "ceiling_samples": "score.ceiling_samples",
    "learning_steps": "invert.steps",
    "captions": "calibrate.captions",
    "own_samples": "calibrate.samples",
    "controls": "calibrate.controls",
}


@checked
def score(
    images: Images,
    *,
    names: Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    group_column: str | None = None,
    image_column: str | None = None,
    follow_links: bool = False,
    model: str | None = None,
    max_tokens: int | None = None,
    samples: int | None = None,
    metric: str | None = None,
    detector: AnyPath | None = None,
    threshold: float | None = None,
    calibrate: bool | None = None,
    reference: AnyPath | None = None,
    until_reached: bool | None = None,
    repeats: int | None = None,
    embeddings: AnyPath | Sequence[AnyPath] | None = None,
    guidance: float | None = None,
    denoising_steps: int | str | None = None,
    scheduler: str | None = None,
    learning_steps: int | None = None,
    templates: str | None = None,
    edit_prompt: str | None = None,
    crop: str | None = None,
    measure_anyway: bool | None = None,
    together: int | None = None,
    keep_images: bool | None = None,
    shard: str | None = None,
    workers: int = 1,
    ray: str | None = None,
    cache: bool = True,
    figures: bool = False,
    dated: bool = False,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "ScoreReport":
    """Measures how original images are to a model; `origcli score`.

    Args:
        images: one or several: paths, directories, globs and lists as the command takes them, http(s)
            addresses, PIL images, bytes of image files, uint8 arrays or tensors (h, w, 3), a data set of
            `datasets` or its column or rows. A mapping gives names to images.
        names: one for each image; by default those of files, and numbers of images in memory.
        groups: one for each image, or one for all.
        group_column, image_column: columns of lists, tables and data sets.
        follow_links: take images that a symbolic link brings in from outside of a directory.
        model: a name (shapes, sd15, sdxl, flux-dev …), a pipeline directory or a Hub id.
        max_tokens: M, the maximum number of tokens to learn.
        samples: for each number of tokens.
        metric, detector: as `--metric` and `--detector` take them.
        threshold: distance that counts as redrawn.
        calibrate: whether to calibrate a model without a threshold once.
        reference: score report of a reference set.
        until_reached: learn one number of tokens after the other; stop at the first that suffices.
        repeats: inversions of each image.
        embeddings: score these learned tokens; learn none.
        guidance, denoising_steps, scheduler: of samples.
        learning_steps, templates: of learning.
        edit_prompt: of the editability test; "none" skips it.
        crop: center, squash or pad.
        measure_anyway: measure images out of the model's domain, too.
        together: images whose tokens are learned in one batch.
        keep_images: keep samples as they were measured.
        shard: "I/N", one of N parts of the list.
        workers: processes that score several images on a CPU. A program that asks for more than one needs
            the usual `if __name__ == "__main__":`, because each process imports it.
        ray: address of a Ray cluster.
        cache: reuse results that are kept by content.
        figures: draw figures for print of each image, too.
        dated: show the date on the pages.
        out, resume, force: directory of the run, by default one under `runs/`; whether to resume or to
            overwrite it.
        preset: names of settings presets, as a list or as `--preset` takes them.
        config: a TOML file of settings.
        settings: section -> field -> value, for settings without a keyword.
        seed, device, dtype, threads, compile, offline: how to compute.
        quiet: no progress and no remarks.

    Returns:
        The report, with all results. Images that cannot be read are no error but in its `errors`.

    Raises:
        OrigError: as the command would end with its exit status.
        TypeError: something is no image; or several models: score with each, then `compare` the runs.
    """
    call = _score_call(locals())
    inputs, left_out = inputs_of(
        call,
        images,
        names=names,
        groups=groups,
        group_column=group_column,
        image_column=image_column,
        follow_links=follow_links,
    )
    request = _request(inputs, left_out, call, embeddings, shard, ray, cache, figures, dated)
    return _scored(
        call, request, None, shard=shard, embeddings=[str(path) for path in as_paths(embeddings or ())]
    )


class Scorer:
    """Opens a model once and scores any number of images with it.

        with Scorer("sd15", samples=30) as scorer:
            scorer("photo.jpg").result.originality.value
            scorer.many({"cat": image, "dog": array}).to_dataframe()

    The keywords are those of `score`. Each call writes its run to a new directory; the model stays in memory
    until `close`.
    """

    @checked
    def __init__(
        self,
        model: str | None = None,
        *,
        max_tokens: int | None = None,
        samples: int | None = None,
        metric: str | None = None,
        detector: AnyPath | None = None,
        threshold: float | None = None,
        calibrate: bool | None = None,
        reference: AnyPath | None = None,
        until_reached: bool | None = None,
        repeats: int | None = None,
        guidance: float | None = None,
        denoising_steps: int | str | None = None,
        scheduler: str | None = None,
        learning_steps: int | None = None,
        templates: str | None = None,
        edit_prompt: str | None = None,
        crop: str | None = None,
        measure_anyway: bool | None = None,
        together: int | None = None,
        keep_images: bool | None = None,
        cache: bool = True,
        preset: Preset | None = None,
        config: AnyPath | None = None,
        settings: SettingsTree | None = None,
        seed: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        compile: bool | None = None,
        offline: bool | None = None,
        quiet: bool = False,
    ) -> None:
        """Opens the model and the metric; the arguments are those of `score`.

        Raises:
            OrigError: a model is missing, or a value is out of range.
        """
        from origcli.scoring.setup import open_models

        self._call = _score_call(locals())
        self._cache = cache
        with self._call.opened_nowhere() as runtime:
            self._models: Models | None = open_models(self._call.settings, runtime)

    def __call__(
        self,
        image: Images,
        *,
        name: str | None = None,
        out: AnyPath | None = None,
        resume: bool = False,
        force: bool = False,
    ) -> "ScoreReport":
        """Scores one image, which may be all that `score` takes; `report.result` is its result.

        Args:
            name: of the image in the report.
            out, resume, force: directory of the run, by default one under `runs/`.
        """
        names = None if name is None else [name]
        return self.many(image, names=names, out=out, resume=resume, force=force)

    def many(
        self,
        images: Images,
        *,
        names: Sequence[str] | None = None,
        groups: str | Sequence[str] | None = None,
        group_column: str | None = None,
        image_column: str | None = None,
        follow_links: bool = False,
        out: AnyPath | None = None,
        resume: bool = False,
        force: bool = False,
    ) -> "ScoreReport":
        """Scores several images in one run; the arguments are those of `score`."""
        from dataclasses import replace

        if self._models is None:
            raise ValueError("this Scorer is closed: open a new one")
        asked = None if out is None else as_path(out)
        call = replace(self._call, out=asked, resume=resume, force=force)
        inputs, left_out = inputs_of(
            call,
            images,
            names=names,
            groups=groups,
            group_column=group_column,
            image_column=image_column,
            follow_links=follow_links,
        )
        return _scored(call, _request(inputs, left_out, call, cache=self._cache), self._models)

    def close(self) -> None:
        """Gives the memory of the models back."""
        from origcli.runtime.memory import release

        self._models = None
        release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@checked
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
    from origcli.runtime.run_place import place_of
    from origcli.scoring.compare import compare_runs, write_comparison

    if isinstance(runs, str) or not isinstance(runs, Sequence):
        raise TypeError("compare takes several runs: give a list of their directories")
    report, compared = compare_runs([as_path(run) for run in runs])
    asked = None if out is None else as_path(out)
    name = compared[-1].directory.resolve().name
    request = hash_value(["compare", *(str(run.directory) for run in compared)])
    with RunDirectory(place_of("compare", asked, [name], request, resume=False, force=force)) as directory:
        write_comparison(directory.path, report, compared)
        return report.at(directory.given)


@checked
def calibrate(
    images: Images = (),
    *,
    model: str | None = None,
    metric: str | None = None,
    detector: AnyPath | None = None,
    captions: int | None = None,
    own_samples: int | None = None,
    controls: int | None = None,
    captions_file: AnyPath | None = None,
    queries: int = 60,
    psnr_images: int = 500,
    samples: int | None = None,
    ceiling_samples: int | None = None,
    guidance: float | None = None,
    denoising_steps: int | str | None = None,
    scheduler: str | None = None,
    learning_steps: int | None = None,
    image_column: str | None = None,
    write: bool = False,
    cache: bool = True,
    out: AnyPath | None = None,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "CalibrateReport":
    """Measures a model's threshold, ceiling and PSNR limit; `origcli calibrate`.

    Args:
        images: held-out images as `score` takes them; none: the model's own samples. A path of a list or a
            data set that has captions gives a threshold, too.
        model: a name (shapes, sd15, sdxl, flux-dev …), a pipeline directory or a Hub id.
        metric, detector: as `--metric` and `--detector` take them.
        captions: number of captions (own samples).
        own_samples: samples of each caption (own samples).
        controls: samples that one token has to reconstruct, the positive control (own samples).
        captions_file: one caption a line, in place of the bundled ones (own samples).
        queries: captioned images for the threshold (held-out images).
        psnr_images: maximum number of images for the PSNR limit (held-out images).
        samples: of each image's caption (held-out images), and of a control's token.
        ceiling_samples: number of samples for the ceiling.
        guidance, denoising_steps, scheduler: of samples.
        learning_steps: of the positive control.
        image_column: of tables and data sets.
        write: write the constants to the model directory's registry.json.
        cache: reuse results that are kept by content.
        out and the keywords after it: as of `score`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.images.given import given_images
    from origcli.scoring.calibrate import calibrate_model
    from origcli.scoring.store import Store
    from origcli.weights.pipelines import pipeline_name

    call = Call.of("calibrate", locals(), _CALIBRATE)
    pictures = given_images(images, image_column=image_column)
    with call.opened([pipeline_name(Path(call.settings.score.model))]) as runtime:
        kept = call.kept(cache)
        report = calibrate_model(
            pictures,
            queries,
            psnr_images,
            call.settings,
            runtime,
            write,
            store=None if kept is None else Store(kept),
            captions=None if captions_file is None else as_path(captions_file),
            image_column=image_column,
        )
        return report.at(runtime.given)


def _score_call(words: dict[str, Any]) -> Call:
    model = words.get("model")
    if model is not None and not isinstance(model, str | Path):
        raise TypeError("score takes one model: score with each, then origcli.compare([run, run])")
    return Call.of("score", {"workers": 1, **words}, MEASURE)  # a `Scorer` is one process


def _request(
    inputs: "list[Input]",
    left_out: "Sequence[LeftOut]",
    call: Call,
    embeddings: AnyPath | Sequence[AnyPath] | None = None,
    shard: str | None = None,
    ray: str | None = None,
    cache: bool = True,
    figures: bool = False,
    dated: bool = False,
) -> "Request":
    from origcli.errors import UsageError
    from origcli.inversion.embeddings import read_several
    from origcli.scoring.run import Request

    if embeddings and len(inputs) > 1:
        raise UsageError("embeddings score one image", "score each image with its own tokens")
    given = read_several(as_paths(embeddings)) if embeddings else None
    return Request(
        inputs,
        shard=shard,
        given=given,
        ray=ray,
        in_print=figures,
        dated=dated,
        cache=call.kept(cache),
        left_out=left_out,
    )


def _scored(call: Call, request: "Request", models: "Models | None", **more: Any) -> "ScoreReport":
    """The report of a run, with all of its results."""
    from origcli.reports.writers import read_report
    from origcli.scoring.run import score_images

    with call.opened([image.name for image in request.inputs], **more) as runtime:
        score_images(request, call.settings, runtime, models=models)
        return cast("ScoreReport", read_report(runtime.out, "score")).at(runtime.given)
