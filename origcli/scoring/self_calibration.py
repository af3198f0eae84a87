"""A model's scale from its own samples: what counts as redrawn, with no data from anywhere.

Samples of one short text show how near the model comes to the same thing twice. For each of many plain
captions, N samples are generated. A caption's spread is the median, over its samples, of the mean distance to
its other samples; the threshold is the 90th percentile of the spreads. All of it is ours; docs/method.md says
why the median is taken, and not the mean over pairs. The PSNR of the samples' round trips is reported, but is
no limit of the model's domain: what a VAE has decoded it encodes better than photos.

A positive control goes with it: one token is learned for some of these samples, which the model certainly can
generate. If fewer than half of them come back within the threshold, tokens do not carry the measure with this
model, and its verdicts are marked as not reliable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from origcli.errors import InputError, UsageError
from origcli.generation.sampling import draw_prompts
from origcli.images.inputs import Input
from origcli.reports.envelope import Estimate
from origcli.reports.score import Threshold
from origcli.runtime import interrupts
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_value
from origcli.runtime.seeding import derive_seed
from origcli.scoring.baseline import drawing_key
from origcli.scoring.drawing import Drawer
from origcli.scoring.learning import Learner
from origcli.scoring.measure import median_to_others, psnr
from origcli.scoring.models import Models
from origcli.scoring.query import Query, query_of, round_trip
from origcli.scoring.statistics import quantile
from origcli.scoring.store import Entry, Store, content_key
from origcli.settings import Settings

THRESHOLD_QUANTILE = 0.9
PSNR_QUANTILE = 0.01
FEWEST_CAPTIONS = 10
_CAPTIONS = "at random"  # how captions are chosen; results of another choice are of other captions
_UNPROMPTED = 64  # samples of the empty prompt, in which a model of shapes shows what it knows
_REPLICATES = 1000

# What progress calls this work.
CALIBRATING = "calibrate on own samples"
CONTROLLING = "positive control"
_PHASES = 3  # of a control: a sample is generated, a token is learned, samples are generated from it


@dataclass(frozen=True)
class Budget:
    """How much a self-calibration takes: captions, samples of each, and samples learned for the control."""

    captions: int
    samples: int
    controls: int


@dataclass(frozen=True)
class Control:
    """The positive control: of `images` samples, `within` came back within the threshold from one token."""

    images: int
    within: int


@dataclass(frozen=True)
class SelfCalibration:
    """What a model's own samples gave.

    Attributes:
        threshold: distance, with a bootstrap interval over captions.
        psnr_limit: dB; missing where every round trip is exact.
        psnr_images: samples that the limit is over.
        control: of this learning budget; `None` where none was made with it.
    """

    threshold: Estimate
    psnr_limit: Estimate
    psnr_images: int
    captions: int
    samples: int
    control: Control | None

    def as_threshold(self) -> Threshold:
        """The threshold for reports, with its control."""
        return Threshold(
            value=self.threshold.value,
            source="samples",
            how=self.how,
            control_images=self.control and self.control.images,
            control_within=self.control and self.control.within,
        )

    @property
    def how(self) -> str:
        """How the threshold was obtained, for reports."""
        return (
            f"{THRESHOLD_QUANTILE:.0%} quantile over {self.captions} captions of the median distance of one "
            f"of {self.samples} own samples to the others"
        )


def automatic_budget(settings: Settings) -> Budget:
    """What `score` takes by itself for a model without a threshold."""
    own = settings.calibrate
    return Budget(own.automatic_captions, own.automatic_samples, own.automatic_controls)


def calibrate_self(
    models: Models,
    settings: Settings,
    runtime: Runtime,
    store: Store,
    budget: Budget,
    given: Path | None = None,
) -> SelfCalibration:
    """Calibrates a model on its own samples and keeps the result by content.

    What is interrupted resumes with the same store: each caption is kept when it is done.

    Args:
        given: a text file with one caption a line, in place of the bundled ones.

    Raises:
        InputError: too few captions, or the model draws one image over and over.
        UsageError: the captions are longer than the text encoder holds.
        NonFiniteError: a sample is not finite.
    """
    captions = own_captions(models, settings, runtime, budget.captions, given)
    measured = _of_captions(models, settings, runtime, store, captions, budget.samples)

    random = np.random.default_rng(derive_seed(runtime.seed, "self-calibration"))
    spreads = [facts["spread"] for facts in measured]
    if max(spreads) == 0:
        raise InputError(
            f"the model {models.entry.name!r} always generates the same image: its samples have no "
            "distance from each other, so there is no scale",
            "calibrate it with images of yours, or choose another --metric",
        )
    decibels = [value for facts in measured for value in facts["psnr"]]
    scale = SelfCalibration(
        threshold=quantile(spreads, THRESHOLD_QUANTILE, _REPLICATES, random),
        psnr_limit=quantile(decibels, PSNR_QUANTILE, _REPLICATES, random)
        if decibels
        else Estimate.missing("every round trip is exact"),
        psnr_images=len(decibels),
        captions=len(captions),
        samples=budget.samples,
        control=None,
    )
    _keep(models, settings, store, scale)
    kept = store.get(_control_key(models, settings))
    if budget.controls and (kept is None or int(kept.facts["images"]) < budget.controls):
        control = _control(models, settings, runtime, store, captions, scale, budget)
        store.put(_control_key(models, settings), Entry(asdict(control)))
    found_again = read_self_calibration(models, settings, store)
    assert found_again is not None, "it has just been kept"
    return found_again


def own_captions(
    models: Models, settings: Settings, runtime: Runtime, count: int, given: Path | None = None
) -> list[str]:
    """The captions to sample: those given, those of the metric's world, else a list of common things.

    Fewer than all are chosen at random, by a fixed seed, since lists have an order: by subject, or the easy
    ones first. A larger number takes the same ones and more.

    Raises:
        InputError: fewer than ten, or the file cannot be read.
        UsageError: the text encoder holds fewer than ten of them.
    """
    if given is not None:
        captions = _lines(given.read_text("utf-8-sig"))
    elif (own := models.metric.captions(lambda: _unprompted(models, settings, runtime))) is not None:
        captions = own
    else:
        captions = _lines(resources.files("origcli.assets").joinpath("captions.txt").read_text("utf-8"))
    if len(captions) < FEWEST_CAPTIONS:
        source = "the list of captions" if given is None else str(given)
        raise InputError(
            f"{source} has {len(captions)} captions; a threshold needs {FEWEST_CAPTIONS} at least",
            "give more captions, or calibrate with images",
        )
    held = [caption for caption in captions if _fits(models, caption)]
    if len(held) < FEWEST_CAPTIONS:
        raise UsageError(
            f"the text encoder of {models.entry.name!r} holds {_length(models)} tokens, enough for "
            f"{len(held)} of the captions only; a threshold needs {FEWEST_CAPTIONS}",
            "give shorter captions, one a line: --captions-file FILE",
        )
    order = np.random.default_rng(0).permutation(len(held))
    return [held[place] for place in order[:count]]


def _lines(text: str) -> list[str]:
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _fits(models: Models, caption: str) -> bool:
    try:
        models.model.words.check([caption])
    except UsageError:
        return False
    return True


def _length(models: Models) -> int:
    return min(encoder.length for encoder in models.model.words.encoders)


def _unprompted(models: Models, settings: Settings, runtime: Runtime) -> list[Any]:
    """Features of samples of the empty prompt: what the model draws when nothing is asked of it."""
    prompts = [""] * _UNPROMPTED
    images = draw_prompts(
        models.model,
        prompts,
        range(_UNPROMPTED),
        settings.draw,
        runtime,
        description="samples without a prompt",
    )
    return list(models.metric.features(images))


def _of_captions(
    models: Models, settings: Settings, runtime: Runtime, store: Store, captions: Sequence[str], samples: int
) -> list[Mapping[str, Any]]:
    """The facts of each caption: from the store, or found and kept there."""
    made_with = _made_with(models, settings)
    keys = {
        caption: content_key("own caption", caption=caption, samples=samples, **made_with)
        for caption in captions
    }
    found = {caption: entry.facts for caption, key in keys.items() if (entry := store.get(key))}
    with runtime.progress.task(CALIBRATING, len(captions), len(found), phases=1) as bar:
        for caption, key in keys.items():
            if caption not in found:
                found[caption] = _of_caption(models, settings, runtime, caption, samples)
                store.put(key, Entry(found[caption]))
                bar.advance(1)
                interrupts.check()
    return [found[caption] for caption in captions]


def _of_caption(
    models: Models, settings: Settings, runtime: Runtime, caption: str, samples: int
) -> Mapping[str, Any]:
    """The spread of a caption's samples, and the PSNR of their round trips."""
    images = own_samples(models, settings, runtime, caption, samples)
    decibels = [_psnr_of_round_trip(models, image) for image in images]
    return {
        "spread": median_to_others(models.metric.features(images), models.metric.between),
        "psnr": [value for value in decibels if value is not None],
    }


def own_samples(
    models: Models, settings: Settings, runtime: Runtime, caption: str, count: int
) -> list[Image.Image]:
    """The samples of a caption that a scale is made of."""
    seeds = [derive_seed("own sample", caption, i) for i in range(count)]
    return draw_prompts(
        models.model, [caption] * count, seeds, settings.draw, runtime, description=f"sample {caption!r}"
    )


def _psnr_of_round_trip(models: Models, image: Image.Image) -> float | None:
    return psnr(np.asarray(image), np.asarray(round_trip(models.model, image)))


def _control(
    models: Models,
    settings: Settings,
    runtime: Runtime,
    store: Store,
    captions: Sequence[str],
    scale: SelfCalibration,
    budget: Budget,
) -> Control:
    """Learns one token for some samples, and counts those that come back within the threshold."""
    assert scale.threshold.value is not None
    chosen = captions[:: max(1, len(captions) // budget.controls)][: budget.controls]
    within = 0
    with runtime.progress.task(CONTROLLING, len(chosen), phases=_PHASES) as bar:
        for number, caption in enumerate(chosen):
            (image,) = own_samples(models, settings, runtime, caption, 1)
            query = _own_query(models, image, f"own-{number}")
            within += _distance_at_one_token(models, settings, runtime, store, query) <= scale.threshold.value
            bar.advance(1)
            interrupts.check()
    return Control(len(chosen), within)


def _own_query(models: Models, image: Image.Image, name: str) -> Query:
    return query_of(Input(Path(name), name, ""), image, {}, models.model, models.metric)


def _distance_at_one_token(
    models: Models, settings: Settings, runtime: Runtime, store: Store, query: Query
) -> float:
    """d(1) of an image, as `score` measures it."""
    learner = Learner(models.model, runtime, store, repeats=1)
    failed = learner.learn([query], [1], settings.invert)
    if failed:
        raise failed[0]
    drawer = Drawer(
        model=models.model,
        metric=models.metric,
        seeds=tuple(derive_seed(runtime.seed, "drawing", i) for i in range(settings.score.samples)),
        settings=settings.draw,
        runtime=runtime,
        store=store,
    )
    drawn = drawer.draw(query, settings.score.prompt, {(0, 1): query.learned[0, 1]})
    return float(np.mean(drawn[0, 1].distances))


def _made_with(models: Models, settings: Settings) -> dict[str, Any]:
    """What a scale of a model's own samples depends on, apart from how many there are."""
    return {
        "metric": [models.metric.name, models.metric.version],
        **drawing_key(models.model, settings.draw),
    }


def _scale_key(models: Models, settings: Settings) -> str:
    return content_key("own scale", captions=_CAPTIONS, **_made_with(models, settings))


def _control_key(models: Models, settings: Settings) -> str:
    score, invert = settings.score, settings.invert.model_dump(mode="json")
    learned = hash_value([invert, score.prompt, score.samples])
    return content_key(
        "positive control", captions=_CAPTIONS, learned=learned, **_made_with(models, settings)
    )


def _keep(models: Models, settings: Settings, store: Store, scale: SelfCalibration) -> None:
    """Keeps a scale, unless one of more samples is kept already."""
    kept = store.get(_scale_key(models, settings))
    if kept is not None and _size(kept.facts) > scale.captions * scale.samples:
        return
    facts = {
        **asdict(scale),
        "threshold": scale.threshold.to_json(),
        "psnr_limit": scale.psnr_limit.to_json(),
        "control": None,
    }
    store.put(_scale_key(models, settings), Entry(facts))


def _size(facts: Mapping[str, Any]) -> int:
    return int(facts["captions"]) * int(facts["samples"])


def read_self_calibration(models: Models, settings: Settings, store: Store) -> SelfCalibration | None:
    """The scale that was calibrated on a model's own samples with these settings, if one was."""
    entry = store.get(_scale_key(models, settings))
    if entry is None:
        return None
    control = store.get(_control_key(models, settings))
    facts = dict(entry.facts)
    return SelfCalibration(
        threshold=Estimate.model_validate(facts.pop("threshold")),
        psnr_limit=Estimate.model_validate(facts.pop("psnr_limit")),
        **{**facts, "control": None if control is None else Control(**control.facts)},
    )
