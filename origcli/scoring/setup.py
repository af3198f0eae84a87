"""Opens everything that measuring needs: the model, the metric, and the constants of the two."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from origcli.errors import ModelError
from origcli.inversion.embeddings import fitted
from origcli.inversion.placeholders import check_placeholders, filled
from origcli.inversion.preparation import make_lanes
from origcli.inversion.templates import read_templates, without_slot
from origcli.models.opening import open_model
from origcli.models.words import Vectors
from origcli.perception.distance import EDIT, Distance
from origcli.perception.editability import TextSimilarity, edit_words
from origcli.perception.metrics import AUTO, find, open_metric
from origcli.reports.provenance import build_provenance, sections_of
from origcli.reports.schema import ModelFacts, Provenance
from origcli.runtime.atomic import read_json
from origcli.runtime.context import Runtime
from origcli.runtime.seeding import derive_seed
from origcli.scoring.baseline import draw_undirected, drawing_facts
from origcli.scoring.batches import Batch
from origcli.scoring.choices import chosen_detector, chosen_metric
from origcli.scoring.drawing import Drawer
from origcli.scoring.learning import Learner
from origcli.scoring.measurer import Measurer
from origcli.scoring.models import Models
from origcli.scoring.store import Store
from origcli.scoring.thresholds import open_scale
from origcli.settings import Settings
from origcli.weights.registry import CLIP, ModelEntry, companion_directory

NO_EDIT = "none"
# What differs between machines that give equal results; the device itself is recorded apart.
_OF_THE_MACHINE = {"threads", "workers", "device", "offline"}
SECTIONS = ("runtime", "invert", "draw", "score", "detect")


def open_models(settings: Settings, runtime: Runtime, entry: ModelEntry | None = None) -> Models:
    """Loads the model and the metric that the settings name.

    Args:
        entry: the model, where it was found before.

    Raises:
        ModelError: one is missing, damaged, or cannot be fetched.
        UsageError: no model or metric has this name.
    """
    check_names(settings)
    entry, model = open_model(settings.score.model, runtime, entry)
    detector = chosen_detector(entry, settings)
    name = chosen_metric(entry, detector, settings)
    metric = open_metric(name, runtime, detector=detector, settings=settings.detect)
    return Models(entry, model, metric, (entry.note,) if entry.note else ())


def check_names(settings: Settings) -> None:
    """Looks up what is named, which takes no time, before models are loaded, which does.

    Raises:
        UsageError: no metric has this name.
        InputError: the list of templates or the reference cannot be read.
    """
    if settings.score.metric != AUTO:
        find(settings.score.metric)
    read_templates(settings.invert.templates)
    if settings.score.reference is not None:
        path = Path(settings.score.reference)
        read_json(path / "report.json" if path.is_dir() else path)


def check_tokens(
    models: Models, batches: Sequence[Batch], settings: Settings, given: Mapping[int, Vectors] | None
) -> None:
    """Makes sure that every prompt can be read with the tokens that it will hold, before any is learned.

    Args:
        given: tokens learned before, by m.

    Raises:
        UsageError: a prompt is too long, placeholders clash, the initial words are unknown, or tokens are of
            another model.
        InputError: the initial vectors cannot be read.
    """
    model, score = models.model, settings.score
    counts = list(range(1, score.max_tokens + 1)) if given is None else sorted(given)
    filled(model.words, [score.prompt], counts[-1])
    if wants_edits(models.metric, settings):
        edited = max((m for m in counts if m <= score.edit_tokens), default=counts[0])
        filled(model.words, [score.edit_prompt], edited)
    if given is not None:
        for m, vectors in given.items():
            fitted(model, vectors, f"the tokens given for m = {m}")
        return
    for templates in {batch.templates for batch in batches}:
        make_lanes(model, read_templates(templates), settings.invert.initialization, counts[-1:], 1)
    check_placeholders(model.words, [image.name for batch in batches for image in batch.inputs], counts)


def open_measurer(
    models: Models,
    settings: Settings,
    runtime: Runtime,
    store: Store,
    given: Mapping[int, Vectors] | None,
    checkpoints: Path | None = None,
) -> Measurer:
    """Makes what measures images, and draws what the scale is made of if it is not kept anywhere.

    Args:
        given: tokens learned before, by m.
        checkpoints: directory for those of inversions under way.
    """
    score, model, metric = settings.score, models.model, models.metric
    seeds = drawing_seeds(runtime.seed, score.samples)
    prompt = without_slot(score.prompt)
    similarity, words = _similarity(models, settings, runtime)
    return Measurer(
        learner=Learner(
            model, runtime, store, score.repeats, dict(given) if given is not None else None, checkpoints
        ),
        drawer=Drawer(
            model=model,
            metric=metric,
            seeds=seeds,
            settings=settings.draw,
            runtime=runtime,
            store=store,
            keep=score.keep_images,
            similarity=similarity,
            words=words,
        ),
        scale=open_scale(models, settings, runtime, store),
        undirected=draw_undirected(model, metric, prompt, seeds, settings.draw, runtime, store),
        settings=settings,
    )


def drawing_seeds(seed: int, count: int) -> tuple[int, ...]:
    """The seeds of the samples of a run: the same for every image and every m."""
    return tuple(derive_seed(seed, "drawing", i) for i in range(count))


def wants_edits(metric: Distance, settings: Settings) -> bool:
    """Whether the edit prompt is drawn from, too: not where placement is tested instead."""
    return metric.test == EDIT and settings.score.edit_prompt != NO_EDIT


def _similarity(models: Models, settings: Settings, runtime: Runtime) -> tuple[TextSimilarity | None, str]:
    """CLIP, for models of the real world, and what the edit asks for."""
    if not wants_edits(models.metric, settings):
        return None, ""
    words = edit_words(settings.score.edit_prompt)
    try:
        directory = companion_directory(CLIP, runtime)
    except ModelError as problem:
        # The test is beside the measure: a machine without network and CLIP can still score.
        runtime.progress.say(f"the editability test is left out: {problem.message}")
        return None, ""
    if not models.similarity:
        models.similarity.append(TextSimilarity(directory, runtime))
    return models.similarity[0], words


def provenance_of(command: str, models: Models, settings: Settings) -> Provenance:
    """What made a report of these models."""
    model, metric = models.model, models.metric
    drawing = drawing_facts(model, settings.draw)
    settings = settings.model_copy(update={"draw": model.family.settled(settings.draw)})
    return build_provenance(
        command,
        sections_of(settings, SECTIONS, _OF_THE_MACHINE),
        settings.runtime.seed,
        model.dtype,
        device=model.device.type,
        model=ModelFacts(
            name=model.name,
            source=models.entry.source,
            weights_hash=model.weights_hash,
            family=model.family.title,
        ),
        metric=ModelFacts(name=metric.name, version=metric.version),
        scheduler=drawing["scheduler"],
        guidance=drawing["guidance"],
        seeds=drawing_seeds(settings.runtime.seed, settings.score.samples),
        notes=models.notes,
    )
