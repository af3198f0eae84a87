"""Inverts many images: reads them, learns their tokens in batches, writes files and the report.

An image that is done is logged and not done again; one that fails costs the others nothing.
"""

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from origcli.errors import InputError, NonFiniteError
from origcli.images.contents import refuse_exchanged, refuse_other_images
from origcli.images.inputs import Input
from origcli.images.reading import read_image
from origcli.inversion.embeddings import start_facts
from origcli.inversion.optimization import Inversion, invert
from origcli.inversion.placeholders import check_placeholders, placeholder
from origcli.inversion.preparation import make_lanes
from origcli.inversion.previews import Previews, previews_of
from origcli.inversion.templates import read_templates
from origcli.inversion.token_files import TokenFacts, write_tokens
from origcli.models.opening import open_model
from origcli.models.pipeline import DiffusionModel
from origcli.reports.envelope import LeftOut
from origcli.reports.provenance import build_provenance, sections_of
from origcli.reports.schema import (
    Estimate,
    Failure,
    ImageFacts,
    InvertedTokens,
    InvertReport,
    InvertResult,
    LossPoint,
    ModelFacts,
    Provenance,
    Status,
)
from origcli.reports.spreadsheet import csv_text
from origcli.reports.writers import ResultLog, write_report
from origcli.runtime.atomic import make_directory, read_json, write_text
from origcli.runtime.context import Runtime
from origcli.runtime.plan import PLAN_NAME, record_plan, refuse_changes
from origcli.runtime.provenance import hash_file, hash_value
from origcli.settings import Settings
from origcli.weights.registry import ModelEntry

LOG, CHECKPOINTS = "results.jsonl", "checkpoints"
HISTORY_COLUMNS = ("m", "step", "loss", "l_det")
SECTIONS = ("runtime", "invert", "draw")
_NOT_OF_THE_RESULT = {"micro_batch", "checkpoint_every", "templates", "initialization"}

Outcome = InvertResult | Failure


@dataclass(frozen=True)
class SourceImage:
    """An image that was read.

    Attributes:
        source: which one.
        image: as the model sees it.
        facts: of reading it.
    """

    source: Input
    image: Image.Image
    facts: dict[str, Any]


def run(
    inputs: Sequence[Input],
    counts: Sequence[int],
    settings: Settings,
    runtime: Runtime,
    listen: Callable[[Outcome], None] = lambda outcome: None,
    left_out: Sequence[LeftOut] = (),
) -> InvertReport:
    """Learns the tokens of all images; resumes an earlier run in the same directory.

    Writes report.json and report.csv, `embeddings/`, `history/` and, if asked for, `previews/`.

    Args:
        inputs: images with names that differ.
        counts: the values of m.
        listen: hears of each image, in order, and of those that were done before.
        left_out: what the folders and archives of the images hold besides.

    Returns:
        The report without its results, which may be many: they are in report.json.

    Raises:
        UsageError: placeholders clash, templates are too long, the initial words are unknown, or the
            directory holds another run.
        ModelError, DeviceError, Interrupted, StorageError: as loading and learning raise them.
    """
    entry, model = open_model(settings.score.model, runtime)
    check_placeholders(model.words, [picture.name for picture in inputs], counts)
    check_words(model, counts, settings)

    provenance = _provenance(entry, model, settings, runtime)
    plan = _plan(inputs, counts, settings, provenance)
    _check_plan(runtime.out, plan)
    log = ResultLog(runtime.out / LOG, InvertResult)
    done = _recall(log, inputs)
    record_plan(runtime.out, plan)

    for result in log:
        listen(result)
    failures: list[Failure] = []
    with runtime.progress.task("images", len(inputs), len(done)) as bar:
        for outcome in _invert_all(inputs, done, counts, model, settings, runtime):
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                log.append(outcome)
                done.add(outcome.id)
            listen(outcome)
            bar.advance(1)

    # A run that was killed between its last result and its tidying up left some.
    shutil.rmtree(runtime.out / CHECKPOINTS, ignore_errors=True)
    if len(done) + len(failures) != len(inputs):
        raise InputError(
            f"{runtime.out}: {len(done) + len(failures)} of {len(inputs)} images have tokens or an error",
            "resume the run: --resume",
        )
    report = InvertReport(
        status=Status.complete if not failures else Status.partial if done else Status.failed,
        provenance=provenance,
        results=(),
        errors=tuple(failures),
        left_out=tuple(left_out),
    )
    write_report(runtime.out, report, log)
    return report


def _check_plan(directory: Path, plan: dict[str, Any]) -> None:
    """Makes sure that a directory holds no other run; one without any may take this.

    Raises:
        UsageError: it does; names the differences, or an image.
    """
    if (directory / PLAN_NAME).exists():
        before = read_json(directory / PLAN_NAME)
        images = {"images": plan["images"]}
        refuse_changes(f"{directory}: holds a run with other settings", {**before, **images}, plan)
        refuse_other_images(directory, before.get("images", {}), plan["images"])


def _recall(log: ResultLog[InvertResult], inputs: Sequence[Input]) -> set[str]:
    """The names of images whose tokens were learned before; results of moved images get the new paths.

    Raises:
        UsageError: an image was exchanged under its name.
    """
    measured = {result.id: (result.image.sha256, result.image.path) for result in log}
    refuse_exchanged(inputs, {name: sha256 for name, (sha256, _) in measured.items()})
    paths = {source.name: source.where for source in inputs}
    if any(path != paths.get(name, path) for name, (_, path) in measured.items()):
        log.replace(
            result.model_copy(update={"image": result.image.moved_to(paths[result.id])}) for result in log
        )
    return set(measured)


def check_words(model: DiffusionModel, counts: Sequence[int], settings: Settings) -> tuple[str, ...]:
    """The templates, which fit the text encoder with the most tokens, as the initial words do.

    Raises:
        UsageError: they do not.
        InputError: the templates or the initial vectors cannot be read.
    """
    templates = read_templates(settings.invert.templates)
    make_lanes(model, templates, settings.invert.initialization, [max(counts)], 1)
    return templates


def _invert_all(
    inputs: Sequence[Input],
    done: Collection[str],
    counts: Sequence[int],
    model: DiffusionModel,
    settings: Settings,
    runtime: Runtime,
) -> Iterator[Outcome]:
    """The outcomes of all images, batch after batch, without those that are done."""
    together = settings.score.together or 1
    for start in range(0, len(inputs), together):
        yield from _invert_batch(inputs[start : start + together], done, counts, model, settings, runtime)


def _invert_batch(
    batch: Sequence[Input],
    done: Collection[str],
    counts: Sequence[int],
    model: DiffusionModel,
    settings: Settings,
    runtime: Runtime,
) -> Iterator[Outcome]:
    """The outcomes of images that are learned together, without those that are done."""
    if all(source.name in done for source in batch):
        return

    pictures: list[SourceImage] = []
    for source in batch:
        try:
            pictures.append(
                SourceImage(source, *read_image(source.source, model.resolution, settings.score.crop))
            )
        except InputError as problem:
            yield Failure.of(problem, source.where)

    yield from _learn(pictures, done, counts, model, settings, runtime)


def _learn(
    pictures: Sequence[SourceImage],
    done: Collection[str],
    counts: Sequence[int],
    model: DiffusionModel,
    settings: Settings,
    runtime: Runtime,
) -> Iterator[Outcome]:
    """Learns images together; where one breaks down, each alone, so that it costs the others nothing.

    Where some are done, all are learned once more, from their checkpoint on: the last digits of an image
    depend on those that it is learned with.
    """
    names = [picture.source.name for picture in pictures]
    if all(name in done for name in names):
        return

    images = {picture.source.name: picture.image for picture in pictures}
    place = runtime.out / CHECKPOINTS / hash_value(names)[:16]
    watch = Previews(model, images, settings.score.prompt, settings.draw, runtime)
    try:
        learned = invert(
            model,
            list(images.values()),
            names,
            counts,
            settings.invert,
            runtime,
            checkpoint=place,
            watch=watch,
        )
    except NonFiniteError as problem:
        shutil.rmtree(place, ignore_errors=True)  # it leads back to the same end
        if len(pictures) == 1:
            yield Failure.of(problem, pictures[0].source.where)
            return
        for picture in pictures:
            yield from _learn([picture], done, counts, model, settings, runtime)
        return

    for picture, inversion in zip(pictures, learned, strict=True):
        if picture.source.name not in done:
            yield _write(picture, inversion, model, settings, runtime.out)
    # Only now: a run that is killed before this has the checkpoint to go on from.
    shutil.rmtree(place, ignore_errors=True)


def _write(
    picture: SourceImage, inversion: Inversion, model: DiffusionModel, settings: Settings, directory: Path
) -> InvertResult:
    """Writes an image's embeddings and loss history."""
    for folder in ("embeddings", "history"):
        make_directory(directory / folder)

    rows = chain.from_iterable(history_rows(inversion, m) for m in inversion.vectors)
    write_text(directory / "history" / f"{inversion.name}.csv", csv_text(list(rows), HISTORY_COLUMNS))
    return InvertResult(
        id=inversion.name,
        image=ImageFacts.model_validate(picture.facts),
        tokens=tuple(_write_tokens(inversion, m, model, settings, directory) for m in inversion.vectors),
        l_det_0=Estimate.of(inversion.l_det_none),
        pictures=previews_of(directory, inversion.name),
    )


def _write_tokens(
    inversion: Inversion, m: int, model: DiffusionModel, settings: Settings, directory: Path
) -> InvertedTokens:
    """Writes the m tokens of an image."""
    token, file = placeholder(inversion.name, m), f"embeddings/{inversion.name}-m{m}.safetensors"
    facts = TokenFacts(model.name, model.weights_hash, inversion.steps[m], settings.runtime.seed)
    write_tokens(directory / file, token, inversion.vectors[m], facts)
    return InvertedTokens(
        m=m,
        placeholder=token,
        file=file,
        sha256=hash_file(directory / file),
        steps=inversion.steps[m],
        stop_reason=inversion.stop_reason[m],
        l_det=Estimate.of(inversion.l_det[m]),
        history=tuple(history_points(inversion, m, settings.invert.evaluate_every)),
    )


def history_rows(inversion: Inversion, m: int) -> Iterator[dict[str, float | int | None]]:
    """A row a step: the training loss, and L_det where it was evaluated."""
    evaluated = dict(inversion.evaluations[m])
    for step, loss in enumerate([None, *inversion.losses[m]]):
        yield {"m": m, "step": step, "loss": loss, "l_det": evaluated.get(step)}


def history_points(inversion: Inversion, m: int, every: int) -> Iterator[LossPoint]:
    """The history at every so many steps: the mean training loss since the point before, and L_det."""
    losses, evaluated = inversion.losses[m], dict(inversion.evaluations[m])
    for step in sorted({*range(every, len(losses) + 1, every), *evaluated, len(losses)}):
        values = {"l_det": evaluated[step]} if step in evaluated else {}
        if step:
            start = (step - 1) // every * every
            values["loss"] = fmean(losses[start:step])
        yield LossPoint(step=step, values=values)


def _plan(
    inputs: Sequence[Input], counts: Sequence[int], settings: Settings, provenance: Provenance
) -> dict[str, Any]:
    """What the results depend on, by content and not by where it lies."""
    learning = settings.invert.model_dump(mode="json", exclude=_NOT_OF_THE_RESULT)
    return {
        **provenance.makers(),
        "command": "invert",
        "invert": learning,
        "templates": hash_value(read_templates(settings.invert.templates)),
        "start": start_facts(settings.invert.initialization),
        "crop": settings.score.crop,
        "together": settings.score.together or 1,
        "seed": settings.runtime.seed,
        "tokens": list(counts),
        "images": {source.name: place for place, source in enumerate(inputs)},
    }


def _provenance(entry: ModelEntry, model: DiffusionModel, settings: Settings, runtime: Runtime) -> Provenance:
    values = sections_of(settings, SECTIONS)
    values["score"] = {"model": settings.score.model, "crop": settings.score.crop}
    return build_provenance(
        "invert",
        values,
        runtime.seed,
        model.dtype,
        device=model.device.type,
        model=ModelFacts(
            name=model.name,
            source=entry.source,
            weights_hash=model.weights_hash,
            family=model.family.title,
        ),
        notes=(entry.note,) if entry.note else (),
    )
