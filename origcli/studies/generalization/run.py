"""The generalization experiments: does a model draw what it never saw, its features known (supplement 2.2)?

A model is trained without one element; then it is asked for that element, and for anything. How often the
element turns up is compared over models whose data are more or less diverse.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from origcli.detection.detector import Detection, Detector
from origcli.errors import Interrupted, OrigError, UsageError
from origcli.inversion.templates import read_templates
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.reports.gallery import write_generalize_html
from origcli.reports.provenance import build_provenance, sections_of
from origcli.reports.schema import (
    Estimate,
    Failure,
    GeneralizeReport,
    GeneralizeResult,
    GeneralizeSummary,
    LevelSummary,
    ModelFacts,
    Provenance,
    Status,
    Trend,
)
from origcli.reports.writers import write_report
from origcli.runtime.atomic import claim_directory, make_directory
from origcli.runtime.context import Runtime
from origcli.runtime.paths import from_here
from origcli.runtime.plan import record_plan
from origcli.runtime.provenance import hash_value
from origcli.runtime.seeding import derive_seed
from origcli.scenes.elements import Element
from origcli.settings import Settings
from origcli.studies.generalization.diversity import Experiment, caption_pool, choose
from origcli.studies.generalization.figures import ShownImages, collect_images, write_figures
from origcli.studies.generalization.plan import (
    MODEL_SECTIONS,
    check_study,
    experiment_facts,
    planned,
    write_plan,
)
from origcli.studies.generalization.stages import (
    CONDITIONS,
    EXPERIMENTS,
    SEEN,
    Bench,
    Condition,
    Found,
    is_detected,
    open_detector,
    run_experiment,
)
from origcli.studies.occurrence import Counts, Quantity, average, frequency, quality, rise
from origcli.training.text_encoder import pretrain

QUANTITIES = ("frequency", "lift", "confidence")
SECTIONS = ("synth", *MODEL_SECTIONS, "draw", "detect", "generalize")
TEXT_ENCODER = "text-encoder"


@dataclass(frozen=True)
class MeasuredCondition:
    """One experiment and condition, with the replicates that averages are made of."""

    result: GeneralizeResult
    quantities: dict[str, Quantity]


def run_generalization(
    settings: Settings, runtime: Runtime, only: Sequence[str] = (), ray: str | None = None
) -> GeneralizeReport:
    """Does the experiments and writes report.json, report.csv, report.html and the figures.

    A stage that is done is not done again. One that fails stops its own experiment alone. The report is of
    all planned experiments that are finished, those of earlier calls included.

    Args:
        only: names or patterns of the experiments to do; all when empty.
        ray: address of a Ray cluster whose machines see the run directory.

    Raises:
        ModelError: there is no detector, found before anything is trained.
        UsageError: the directory holds an experiment of the same name with other settings, or another
            kind of run; captions are longer than the text encoder reads.
        Interrupted: a signal came; what was finished is kept.
    """
    experiments = planned(settings)
    chosen = choose(experiments, only)
    check_captions(settings)
    detector = open_detector(settings, runtime)
    directory = runtime.out / EXPERIMENTS
    check_study(runtime.out)
    due = [
        experiment
        for experiment in experiments
        if experiment in chosen or is_detected(directory / experiment.name)
    ]
    claim_directory(directory)  # on a cluster, other processes write there
    for experiment in due:
        facts = experiment_facts(experiment, settings, runtime.seed)
        record_plan(make_directory(directory / experiment.name), facts)
    write_plan(runtime.out, settings)
    shared = share_text_encoder(settings, runtime)
    measured: list[MeasuredCondition] = []
    shown_images: list[ShownImages] = []
    failures: list[Failure] = []
    outcomes = (
        run_here(due, shared, runtime, detector) if ray is None else _on_cluster(ray, due, shared, runtime)
    )
    # What an earlier call finished tells nothing about how long the rest takes.
    before = {experiment.name for experiment in due if is_detected(directory / experiment.name)}
    with runtime.progress.task("experiments", len(due), len(before)) as bar:
        for experiment, outcome in outcomes:
            try:
                if not isinstance(outcome, Failure):
                    shown = collect_images(
                        experiment, directory / experiment.name, outcome, settings.detect.confidence
                    )
            except OrigError as problem:
                outcome = Failure.of(problem, experiment.name)
            if isinstance(outcome, Failure):
                runtime.progress.say(f"{experiment.name}: {outcome.message}")
                failures.append(outcome)
            else:
                measured += evaluate(experiment, outcome, settings, runtime.seed)
                shown_images.append(shown)
            if experiment.name not in before:
                bar.advance(1)
    finished = len(measured) // len(CONDITIONS)
    complete = finished == len(experiments)
    report = GeneralizeReport(
        status=Status.complete if complete else Status.partial if measured else Status.failed,
        provenance=provenance(settings, runtime, detector),
        results=tuple(condition.result for condition in measured),
        errors=tuple(failures),
        summary=summarize(measured, settings.generalize.levels, runtime.seed),
    )
    report = report.model_copy(update={"figures": write_figures(runtime.out, report, shown_images)})
    write_report(runtime.out, report)
    write_generalize_html(runtime.out, report)
    return report


def run_here(
    due: Sequence[Experiment], settings: Settings, runtime: Runtime, detector: Detector
) -> Iterator[tuple[Experiment, Found | Failure]]:
    """Does experiments one after the other in this process; a failed one becomes its failure.

    Args:
        settings: with the text encoder that all share.
    """
    for experiment in due:
        bench = Bench(experiment, settings, runtime, runtime.out / EXPERIMENTS / experiment.name)
        try:
            yield experiment, run_experiment(bench, detector)
        except Interrupted:
            raise
        except OrigError as problem:
            yield experiment, Failure.of(problem, experiment.name)


def _on_cluster(
    address: str, due: Sequence[Experiment], settings: Settings, runtime: Runtime
) -> Iterator[tuple[Experiment, Found | Failure]]:
    from origcli.studies.generalization.on_cluster import run_on_cluster

    on_gpu = runtime.device.type == "cuda"
    yield from run_on_cluster(address, due, settings, runtime.out, on_gpu)


def check_captions(settings: Settings) -> None:
    """Makes sure that the caption BERT can read the longest caption, before anything is trained.

    Raises:
        UsageError: it cannot.
    """
    own, most = settings.text_encoder, settings.generalize.max_elements
    longest = 5 * most - 1 + 2  # four words an element, "and" between two; [CLS] and [SEP]
    if own.source == "captions" and longest > own.max_length:
        raise UsageError(
            f"captions of {most} elements have {longest} tokens, and the text encoder reads {own.max_length}",
            f"give fewer --max-elements, or [text_encoder] max_length = {longest}",
        )


def share_text_encoder(settings: Settings, runtime: Runtime) -> Settings:
    """Pre-trains one caption BERT for all experiments, and names it in the settings.

    It has seen no image, so what a model knows of looks comes from its own data set alone (2.1). Settings
    that name a pre-trained BERT are given back as they are.
    """
    own = settings.text_encoder
    if own.source != "captions":
        return settings
    directory = runtime.out / TEXT_ENCODER
    generalize = settings.generalize
    captions = caption_pool(generalize.max_elements, generalize.caption_pool, runtime.seed)
    templates = [*read_templates("object"), *read_templates("art")]
    pretrain(captions, templates, own, runtime, directory, resume=True)  # one that is there is compared
    source = own.model_copy(update={"source": str(from_here(directory))})
    return settings.model_copy(update={"text_encoder": source})


def evaluate(
    experiment: Experiment, detections: Found, settings: Settings, seed: int
) -> list[MeasuredCondition]:
    """The quantities of both conditions of an experiment."""
    digest = hash_value(experiment_facts(experiment, settings, seed))
    measured = []
    for condition in CONDITIONS:
        counts = count(detections[condition], experiment.held_out, settings.detect.confidence)
        random = np.random.default_rng(derive_seed(seed, "resample", experiment.name, condition))
        replicates = settings.generalize.bootstrap
        often = frequency(counts, replicates, random)
        quantities = {
            "frequency": often,
            "lift": often.scaled(experiment.level),
            "confidence": quality(counts, replicates, random),
        }
        result = GeneralizeResult(
            experiment=experiment.name,
            hash=digest,
            level=experiment.level,
            held_out=experiment.held_out.phrase,
            spanning=tuple(element.phrase for element in experiment.trained_on),
            condition=condition,
            prompt="" if condition == "empty" else experiment.held_out.phrase,
            images=len(detections[condition]),
            detections=int(counts.total.sum()),
            held_out_detections=int(counts.held_out.sum()),
            sheet=f"{EXPERIMENTS}/{experiment.name}/{condition}.png",
            **{name: quantity.estimate for name, quantity in quantities.items()},
        )
        measured.append(MeasuredCondition(result, quantities))
    return measured


def count(pictures: Sequence[Sequence[Detection]], held_out: Element, threshold: float) -> Counts:
    """Detections as numbers, image by image.

    Args:
        threshold: the confidence from which detections count (2.1: 0.9).
    """
    rows = [
        (
            sum(detection.element == held_out for detection in seen if detection.confidence >= threshold),
            sum(detection.confidence >= threshold for detection in seen),
            sum(detection.element == held_out for detection in seen),
            sum(detection.confidence for detection in seen if detection.element == held_out),
        )
        for seen in pictures
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Counts(table[:, 0], table[:, 1], table[:, 2], table[:, 3])


def summarize(measured: Sequence[MeasuredCondition], levels: Sequence[int], seed: int) -> GeneralizeSummary:
    """Averages over the symmetric experiments of each level, and whether they rise with the level."""
    random = np.random.default_rng(derive_seed(seed, "average"))
    averages = []
    for level in levels:
        for condition in CONDITIONS:
            group = [
                member
                for member in measured
                if (member.result.level, member.result.condition) == (level, condition)
            ]
            estimates = {
                name: average([member.quantities[name] for member in group], random) for name in QUANTITIES
            }
            averages.append(
                LevelSummary(
                    level=level,
                    condition=condition,
                    experiments=len(group),
                    averaged={
                        name: sum(not np.isnan(member.quantities[name].value) for member in group)
                        for name in QUANTITIES
                    },
                    **estimates,
                )
            )
    trends = tuple(
        _trend(measured, condition, name, random) for condition in CONDITIONS for name in QUANTITIES
    )
    return GeneralizeSummary(levels=tuple(averages), trends=trends)


def _trend(
    measured: Sequence[MeasuredCondition], condition: Condition, name: Any, random: np.random.Generator
) -> Trend:
    known = [
        member.result
        for member in measured
        if member.result.condition == condition and not np.isnan(member.quantities[name].value)
    ]
    # Levels hold out the same elements, some of which are easier: values are exchanged within one alone.
    trend = rise(
        [result.level for result in known],
        [getattr(result, name).value for result in known],
        random,
        [result.held_out for result in known],
    )
    reason = "fewer than three experiments, no element held out at two levels, or one does not vary"
    return Trend(
        condition=condition,
        quantity=name,
        kendall_tau=Estimate.missing(reason) if trend is None else Estimate.of(trend.tau),
        p_value=None if trend is None else trend.p_value,
        test=f"permutation of {len(known)} experiments within those of one held-out element, one-sided: it "
        "rises with the number of elements",
    )


def provenance(settings: Settings, runtime: Runtime, detector: Detector) -> Provenance:
    """What made a report."""
    drawing = StableDiffusion.settled(settings.draw)
    settings = settings.model_copy(update={"draw": drawing})
    return build_provenance(
        "generalize",
        sections_of(settings, SECTIONS),
        runtime.seed,
        runtime.dtype,
        device=runtime.device.type,
        detector=ModelFacts(name=settings.generalize.detector, weights_hash=detector.weights_hash),
        scheduler=drawing.scheduler,
        guidance=StableDiffusion.defaults.guidance if drawing.guidance is None else drawing.guidance,
        notes=(f"confidence is of held-out detections from {SEEN:g} up",),
    )
