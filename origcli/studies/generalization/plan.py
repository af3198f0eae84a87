"""The generalization study as it is planned: which experiments, and what each depends on (no torch)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from origcli.errors import UsageError
from origcli.runtime.atomic import make_directory, read_json, write_json
from origcli.runtime.provenance import hash_files, hash_value
from origcli.settings import Settings, VaeSettings
from origcli.studies.generalization.diversity import Experiment, plan

PLAN = "plan.json"
MODEL_SECTIONS = ("vae", "text_encoder", "unet")


def planned(settings: Settings) -> list[Experiment]:
    """The experiments that the settings ask for (see `diversity.plan`)."""
    return plan(settings.generalize.levels, settings.generalize.repeats)


def plan_rows(experiments: Sequence[Experiment], settings: Settings) -> list[dict[str, Any]]:
    """The experiments, each with the hash of all that its model depends on."""
    return [
        {
            "experiment": experiment.name,
            "level": experiment.level,
            "held_out": experiment.held_out.phrase,
            "sizes": ",".join(experiment.span.sizes),
            "colors": ",".join(experiment.span.colors),
            "textures": ",".join(experiment.span.textures),
            "shapes": ",".join(experiment.span.shapes),
            "hash": hash_value(experiment_facts(experiment, settings, settings.runtime.seed)),
        }
        for experiment in experiments
    ]


def experiment_facts(experiment: Experiment, settings: Settings, seed: int) -> dict[str, Any]:
    """All that the trained model of an experiment depends on, as JSON.

    Args:
        settings: as they were given; not with the path of a shared text encoder in them.
        seed: the run's.
    """
    own = settings.generalize
    data = {
        "count": picture_count(experiment, settings),
        "resolution": settings.synth.resolution,
        "empty": own.empty,
        "max_elements": own.max_elements,
        "caption_pool": own.caption_pool,
    }
    facts = {"data": data, **model_facts(settings)}
    facts["vae"] = vae_settings(experiment, settings).model_dump(mode="json")
    return experiment.facts(facts, seed)


def picture_count(experiment: Experiment, settings: Settings) -> int:
    """How many images an experiment learns from: as many for each element, or the same at every level."""
    level = settings.generalize.count_level
    if not level:
        return settings.synth.count
    return round(settings.synth.count * len(experiment.trained_on) / (level - 1))  # one is held out


def vae_settings(experiment: Experiment, settings: Settings) -> VaeSettings:
    """The VAE's settings, its epochs counted in `synth.count` images, however many there are.

    What is compared over levels is the UNet's exposure to elements. A VAE that had seen fewer images would
    show all elements worse at low levels.
    """
    epochs = settings.vae.epochs * settings.synth.count / picture_count(experiment, settings)
    return settings.vae.model_copy(update={"epochs": epochs})


def model_facts(settings: Settings) -> dict[str, Any]:
    """The settings that a model is trained with; a text encoder is known by its weights, wherever it lies."""
    sections = {name: getattr(settings, name).model_dump(mode="json") for name in MODEL_SECTIONS}
    source = Path(settings.text_encoder.source)
    if source.is_dir():
        sections["text_encoder"]["source"] = hash_files(source.rglob("*.safetensors"), source)
    return sections


def check_study(directory: Path) -> None:
    """Makes sure that a directory is a study's or nobody's.

    Raises:
        UsageError: it has the plan of another kind of run.
    """
    path = directory / PLAN
    if path.exists() and not isinstance(read_json(path), list):
        raise UsageError(f"{directory}: holds a run of another command", "give another --out")


def write_plan(directory: Path, settings: Settings) -> None:
    """Writes all experiments of the study to `plan.json`.

    Raises:
        UsageError: the directory has the plan of another kind of run.
        StorageError: it cannot be written.
    """
    check_study(directory)
    write_json(make_directory(directory) / PLAN, plan_rows(planned(settings), settings))
