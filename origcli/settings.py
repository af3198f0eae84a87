"""Every setting of every command, and how presets, files, environment and flags fill it.

Precedence, lowest first: presets, the `--config` file, `ORIGCLI_SECTION_FIELD` variables, flags.
The base is always `paper.toml`, which is complete; `small.toml` (scale of data and models) and
`fast.toml` (how long to invert) are layered on it.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from origcli.errors import InputError, UsageError, nearest

# Variables of the environment that are not settings; see `origcli --help` and the manual.
VARIABLES = {
    "ORIGCLI_CACHE": "directory of cached features and constants",
    "ORIGCLI_CONFIG": "the --config file",
    "ORIGCLI_DEBUG": "1: an error shows its traceback",
    "ORIGCLI_MIRROR": "address that serves published weights in place of their publishers",
    "ORIGCLI_PRESET": "the --preset",
}
PRESETS = ("paper", "small", "fast", "many")
DEFAULT_PRESETS = ("small", "fast")


class Section(BaseModel):
    """A frozen group of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RuntimeSettings(Section):
    """What all commands share: where to compute and how."""

    device: str = "auto"
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**63)
    threads: int | None = Field(None, ge=1)
    compile: bool = False
    deterministic: bool = True
    offline: bool = False


class SynthSettings(Section):
    """A data set of coloured shapes (supplement 2.1, 6.1)."""

    count: int = Field(ge=0)
    resolution: int = Field(ge=32, le=1024)
    max_elements: int = Field(ge=1)
    empty: float = Field(ge=0, le=1)
    mixture: Literal["uniform", "originality"] = "uniform"
    common: float = Field(ge=0, le=1)
    rare: float = Field(ge=0, le=1)
    category: Literal["common", "rare", "unseen", "rest"] | None = None
    sizes: tuple[str, ...] = ()
    colors: tuple[str, ...] = ("red", "green", "blue")
    textures: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ("circle", "square", "triangle", "hexagon", "star")
    hold_out: tuple[str, ...] = ()
    caption_order: Literal["fixed", "shuffled"] = "fixed"
    no_overlap: bool = False
    fixed_location: bool = False
    shards: int | None = Field(None, ge=1)


class OptimizerSettings(Section):
    """One training stage: AdamW, its schedule, the moving average of its weights."""

    batch_size: int = Field(ge=1)
    micro_batch: int | None = Field(None, ge=1)
    learning_rate: float = Field(gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(ge=0, lt=1)
    checkpoint_every: int = Field(ge=1)
    sample_every: int = Field(ge=0)


class VaeSettings(OptimizerSettings):
    """AutoencoderKL from scratch (supplement 6.1)."""

    epochs: float = Field(gt=0)
    channels: tuple[int, ...]
    layers_per_block: int = Field(ge=1)
    latent_channels: int = Field(ge=1)
    norm_groups: int = Field(ge=1)
    kl_weight: float = Field(ge=0)
    l1_weight: float = Field(ge=0)
    mse_weight: float = Field(ge=0)
    lpips_weight: float = Field(0.0, ge=0)
    freeze_encoder: bool = False
    held_out: int = Field(ge=1)


class TextEncoderSettings(Section):
    """BERT: a hub id or directory, or `captions` for a small one pre-trained on captions."""

    source: str
    width: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    max_length: int = Field(ge=8)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    mask_probability: float = Field(gt=0, lt=1)
    pair_probability: float = Field(ge=0, le=1)


class UNetSettings(OptimizerSettings):
    """UNet2DConditionModel from scratch (supplement 6.1)."""

    epochs: float = Field(gt=0)
    channels: tuple[int, ...]
    layers_per_block: int = Field(ge=1)
    attention_head_dim: int = Field(ge=4)
    norm_groups: int = Field(ge=1)
    prediction: Literal["epsilon", "v_prediction"]
    min_snr_gamma: float | None = Field(None, gt=0)
    caption_dropout: float = Field(ge=0, le=1)
    template_probability: float = Field(0.0, ge=0, le=1)
    zero_terminal_snr: bool = False


class DetectorSettings(OptimizerSettings):
    """Training of YOLOv8 (supplement 2.1)."""

    architecture: str
    epochs: float = Field(gt=0)
    input_size: int = Field(ge=32)
    harden: float = Field(ge=0, le=1)
    held_out: int = Field(ge=1)


class DetectSettings(Section):
    """Counting what is in pictures (supplement 2.1)."""

    confidence: float = Field(ge=0, le=1)
    iou: float = Field(ge=0, le=1)
    batch_size: int = Field(ge=1)


class InvertSettings(Section):
    """Multi-token textual inversion (supplement 6.1, 6.2).

    The learning rate "auto" follows the size of the model's word vectors.
    """

    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"]
    micro_batch: int | None = Field(None, ge=1)
    templates: str = "object"
    initialization: str = "mean"
    flip: bool = False
    early_stop: bool = False
    early_stop_window: int = Field(ge=2)
    early_stop_variance: float = Field(gt=0)
    early_stop_floor: float = Field(ge=0)
    evaluate_every: int = Field(ge=1)
    evaluate_samples: int = Field(ge=1)
    checkpoint_every: int = Field(ge=1)
    preview_every: int = Field(0, ge=0)


class DrawSettings(Section):
    """Sampling. `None` takes the model's own value from the registry."""

    steps: int = Field(ge=1)
    guidance: float | None = Field(None, ge=0)
    scheduler: Literal["ddim", "dpm", "euler", "pndm"]
    batch_size: int = Field(ge=1)


class ScoreSettings(Section):
    """The measure of originality (supplement 5, 6.2)."""

    model: str = "auto"
    metric: str = "auto"
    max_tokens: int = Field(ge=1, le=32)
    images: int = Field(ge=1)
    prompt: str
    edit_prompt: str
    edit_tokens: int = Field(ge=1)
    ceiling_images: int = Field(ge=2)
    threshold: float | None = Field(None, ge=0)
    reference: str | None = None
    detector: str | None = None
    bootstrap: int = Field(ge=1)
    repeats: int = Field(1, ge=1)
    crop: Literal["center", "squash", "pad"] = "center"
    together: int | None = Field(None, ge=1)
    keep_images: bool = False
    until_reached: bool = False
    force: bool = False


class GeneralizeSettings(Section):
    """The generalization experiments (supplement 2.2)."""

    levels: tuple[int, ...]
    repeats: int = Field(ge=1)
    images: int = Field(ge=1)
    max_elements: int = Field(ge=1)
    caption_pool: int = Field(ge=1)
    bootstrap: int = Field(ge=1)
    detector: str = "shapes"
    keep_data: bool = False


class QuerySettings(Section):
    """Query pictures that a study makes: common, rare and unseen pairs of `rarity` (supplement 6.1)."""

    queries: int = Field(ge=2)
    seed: int = Field(ge=0, lt=2**63)


class FixedLocationSettings(QuerySettings):
    """Common pairs at fixed places (supplement 3)."""

    images: int = Field(ge=1)


class PopularitySettings(QuerySettings):
    """Pictures that were trained on against fresh ones (supplement 5)."""

    margin: float = Field(gt=0)


class Settings(Section):
    """All sections. Each command reads those that it needs."""

    runtime: RuntimeSettings
    synth: SynthSettings
    vae: VaeSettings
    text_encoder: TextEncoderSettings
    unet: UNetSettings
    detector: DetectorSettings
    detect: DetectSettings
    invert: InvertSettings
    draw: DrawSettings
    score: ScoreSettings
    generalize: GeneralizeSettings
    rarity: QuerySettings
    fixed_location: FixedLocationSettings
    popularity: PopularitySettings


class Origins(dict[str, str]):
    """Where each effective value came from: `section.field` -> "preset paper", "environment", "flag" …"""


@cache
def preset_values(name: str) -> dict[str, dict[str, Any]]:
    """The tables of one preset file."""
    if name not in PRESETS:
        raise UsageError(f"no preset is called {name!r}", nearest(name, PRESETS))
    text = resources.files("origcli.presets").joinpath(f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text)


def config_values(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file.

    Raises:
        InputError: the file is missing, not UTF-8 or not TOML.
        UsageError: it names a section or a field that there is not.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the configuration file: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    for section, table in values.items():
        if section not in Settings.model_fields or not isinstance(table, dict):
            raise UsageError(
                f"{path}: no section is called [{section}]", nearest(section, Settings.model_fields)
            )
        for field in table:
            if field not in fields_of(section):
                raise UsageError(f"{path}: [{section}] has no {field!r}", nearest(field, fields_of(section)))
    return values


def fields_of(section: str) -> dict[str, FieldInfo]:
    """The fields of a section."""
    annotation = Settings.model_fields[section].annotation
    assert isinstance(annotation, type) and issubclass(annotation, Section)
    return annotation.model_fields


def environment_values(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """`ORIGCLI_SCORE_IMAGES=8` sets `score.images`; `runtime` needs no name (`ORIGCLI_DEVICE`).

    Raises:
        UsageError: a variable starts with `ORIGCLI_` and sets nothing: a setting that is misspelt
            and ignored would be a wrong result.
    """
    values: dict[str, dict[str, Any]] = {}
    known = {*VARIABLES}
    for section in Settings.model_fields:
        for name, field in fields_of(section).items():
            for variable in variables_of(section, name):
                known.add(variable)
                if variable in environment:
                    values.setdefault(section, {})[name] = _parse(environment[variable], field)
    for variable in environment:
        if variable.startswith("ORIGCLI_") and variable not in known:
            raise UsageError(f"the environment variable {variable} sets nothing", nearest(variable, known))
    return values


def variables_of(section: str, field: str) -> tuple[str, ...]:
    """The environment variables that set a field; where there are two, the latter wins."""
    long = f"ORIGCLI_{section}_{field}".upper()
    return (long, f"ORIGCLI_{field}".upper()) if section == "runtime" else (long,)


def _parse(text: str, field: FieldInfo) -> Any:
    """A value written as in TOML; a string may go without its quotes."""
    if field.annotation is str:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def resolve(
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    presets: Sequence[str] | None = None,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Settings, Origins]:
    """Settings from all sources, and where each value came from.

    Args:
        flags: section -> field -> value; `None` values are flags not given.
        presets: names layered on `paper`; `None` is ("small", "fast"), ("paper",) is the paper alone.
        config: a TOML file with a table a section.
        environment: the process's own when `None`.

    Raises:
        UsageError: an unknown preset, section or field, or a value out of range.
    """
    environment = os.environ if environment is None else environment
    names = ("paper", *(n for n in (DEFAULT_PRESETS if presets is None else presets) if n != "paper"))
    layers = [(f"preset {name}", preset_values(name)) for name in names]
    if config is not None:
        layers.append((f"--config {config}", config_values(config)))
    layers.append(("environment", environment_values(environment)))
    given = {s: {k: v for k, v in t.items() if v is not None} for s, t in (flags or {}).items()}
    layers.append(("flag", given))
    merged: dict[str, dict[str, Any]] = {section: {} for section in Settings.model_fields}
    origins = Origins()
    for origin, tables in layers:
        for section, table in tables.items():
            if section not in merged:
                raise UsageError(f"no section is called {section!r}", nearest(section, merged))
            for field, value in table.items():
                merged[section][field] = value
                origins[f"{section}.{field}"] = origin
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise _invalid(error, origins) from error
    for section, values in settings:
        for field in type(values).model_fields:
            origins.setdefault(f"{section}.{field}", "default")
    return settings, origins


def _invalid(error: ValidationError, origins: Origins) -> UsageError:
    """The first of pydantic's complaints: which setting, where it was set, to what, and what it may be."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    field = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "missing":
        return UsageError(
            f"{where} is not set", "set it with a flag, in --config, or take a preset that has it"
        )
    origin = origins.get(field, "settings")
    given = f"{where} = {first['input']!r} ({origin})"
    section, _, name = field.partition(".")
    if first["type"] == "extra_forbidden":
        return UsageError(f"{given}: [{section}] has no {name!r}", nearest(name, fields_of(section)))
    may_be = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    known = re.findall("'(.*?)'", may_be) if first["type"] == "literal_error" else []
    return UsageError(f"{given}: {may_be}", nearest(str(first["input"]), known) if known else "")
