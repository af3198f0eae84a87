"""The sections: every setting of every command, its type and its range. Their values are in presets/."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


def _divide(number: int, widths: Sequence[int], what: str) -> int:
    odd = [width for width in widths if width % number]
    if odd:
        raise ValueError(f"should divide {what}, and does not divide {odd[0]}")
    return number


def _divide_channels(groups: int, others: ValidationInfo) -> int:
    """Group normalization shares the channels of each level out among its groups."""
    return _divide(groups, others.data.get("channels", ()), "all channels")


def _divide_width(heads: int, others: ValidationInfo) -> int:
    """Attention shares the width out among its heads."""
    return _divide(heads, [others.data["width"]] if "width" in others.data else [], "the width")


Channels = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
Groups = Annotated[int, Field(ge=1), AfterValidator(_divide_channels)]
Heads = Annotated[int, Field(ge=1), AfterValidator(_divide_width)]
TextWidth = Annotated[int, Field(ge=32, multiple_of=32)]  # attention heads of a text encoder are 32 wide


class Section(BaseModel):
    """A frozen group of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RuntimeSettings(Section):
    """What all commands share: where to compute and how."""

    device: str = "auto"
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**63)
    threads: int | None = Field(None, ge=1)
    workers: int | None = Field(None, ge=1)
    compile: bool = False
    deterministic: bool = True
    offline: bool = False


class SynthSettings(Section):
    """A data set of colored shapes (supplement 2.1, 6.1)."""

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
    channels: Channels
    layers_per_block: int = Field(ge=1)
    latent_channels: int = Field(ge=1)
    norm_groups: Groups
    kl_weight: float = Field(ge=0)
    l1_weight: float = Field(ge=0)
    mse_weight: float = Field(ge=0)
    freeze_encoder: bool = False
    held_out: int = Field(ge=1)


class TextEncoderSettings(Section):
    """BERT: a hub id or directory, or `captions` for a small one pre-trained on captions."""

    source: str
    width: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: Heads
    max_length: int = Field(ge=8)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    mask_probability: float = Field(gt=0, lt=1)
    pair_probability: float = Field(ge=0, le=1)
    frequency_exponent: float = Field(ge=0, le=1)
    summary_weight: float = Field(ge=0)


class UNetSettings(OptimizerSettings):
    """UNet2DConditionModel from scratch (supplement 6.1)."""

    epochs: float = Field(gt=0)
    channels: Channels
    layers_per_block: int = Field(ge=1)
    attention_head_dim: int = Field(ge=4)
    norm_groups: Groups
    prediction: Literal["epsilon", "v_prediction"]
    min_snr_gamma: float | None = Field(None, gt=0)
    caption_dropout: float = Field(ge=0, le=1)
    template_probability: float = Field(0.0, ge=0, le=1)
    part_probability: float = Field(0.0, ge=0, le=1)
    zero_terminal_snr: bool = False


class TransformerSettings(OptimizerSettings):
    """SD3Transformer2DModel and its two text encoders from scratch: Stable Diffusion 3's kind, made small."""

    epochs: float = Field(gt=0)
    width: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: Heads
    patch_size: int = Field(ge=1)
    normalize_queries: bool
    text_widths: tuple[TextWidth, TextWidth]
    text_layers: int = Field(ge=1)
    max_length: int = Field(ge=8)
    shift: float = Field(gt=0)
    caption_dropout: float = Field(ge=0, le=1)
    template_probability: float = Field(0.0, ge=0, le=1)
    part_probability: float = Field(0.0, ge=0, le=1)


class DetectorSettings(OptimizerSettings):
    """Training of YOLOv8 (supplement 2.1)."""

    architecture: str
    epochs: float = Field(gt=0)
    input_size: int = Field(ge=32)
    harden: float = Field(ge=0, le=1)
    held_out: int = Field(ge=1)


class DetectSettings(Section):
    """Counting what is in images (supplement 2.1)."""

    confidence: float = Field(ge=0, le=1)
    iou: float = Field(ge=0, le=1)
    batch_size: int = Field(ge=1)


class InvertSettings(Section):
    """Multi-token textual inversion (supplement 6.1, 6.2).

    The learning rate "auto" follows the size of the model's word vectors; in the last `cool_down` steps of a
    course it falls to zero. `stratified` and `antithetic` are of a step's random numbers. Templates "auto"
    are the list of object prompts; the art list for groups called art.
    """

    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"]
    stratified: bool
    antithetic: bool
    cool_down: int = Field(ge=0)
    micro_batch: int | None = Field(None, ge=1)
    templates: str = "auto"
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
    """Sampling. `auto` and `None` take the value that the model is best drawn with."""

    steps: Annotated[int, Field(ge=1)] | Literal["auto"]
    guidance: float | None = Field(None, ge=0)
    scheduler: Literal["auto", "quick", "own", "ddim", "dpm", "euler", "pndm"]
    batch_size: int = Field(ge=1)


class ScoreSettings(Section):
    """The measure of originality (supplement 5, 6.2)."""

    model: str = "auto"
    metric: str = "auto"
    max_tokens: int = Field(ge=1, le=32)
    samples: int = Field(ge=1)
    prompt: str
    edit_prompt: str
    edit_tokens: int = Field(ge=1)
    ceiling_samples: int = Field(ge=2)
    threshold: float | None = Field(None, ge=0)
    reference: str | None = None
    detector: str | None = None
    bootstrap: int = Field(ge=1)
    repeats: int = Field(1, ge=1)
    crop: Literal["center", "squash", "pad"] = "center"
    together: int | None = Field(None, ge=1)
    keep_images: bool = False
    until_reached: bool = False
    calibrate: bool = True
    measure_anyway: bool = False


class CalibrateSettings(Section):
    """Calibration on a model's own samples; the automatic one is what `score` makes by itself."""

    captions: int = Field(ge=10)
    samples: int = Field(ge=2)
    controls: int = Field(ge=0)
    automatic_captions: int = Field(ge=10)
    automatic_samples: int = Field(ge=2)
    automatic_controls: int = Field(ge=0)


class GeneralizeSettings(Section):
    """The generalization experiments (supplement 2.2)."""

    levels: tuple[int, ...]
    repeats: int = Field(ge=1)
    samples: int = Field(ge=1)
    max_elements: int = Field(ge=1)
    count_level: Annotated[int, Field(ge=4, le=60)] | Literal[0]
    empty: float = Field(ge=0, le=1)
    caption_pool: int = Field(ge=1)
    bootstrap: int = Field(ge=1)
    detector: str = "shapes"
    keep_data: bool = False


class QuerySettings(Section):
    """Query images that a study makes: common, rare and unseen pairs of `rarity` (supplement 6.1)."""

    queries: int = Field(ge=2)
    seed: int = Field(ge=0, lt=2**63)


class FixedLocationSettings(QuerySettings):
    """Common pairs at fixed places (supplement 3)."""

    samples: int = Field(ge=1)


class PopularitySettings(QuerySettings):
    """Images that were trained on against fresh ones (supplement 5)."""

    margin: float = Field(gt=0)


class Settings(Section):
    """All sections. Each command reads those that it needs."""

    runtime: RuntimeSettings
    synth: SynthSettings
    vae: VaeSettings
    text_encoder: TextEncoderSettings
    unet: UNetSettings
    transformer: TransformerSettings
    detector: DetectorSettings
    detect: DetectSettings
    invert: InvertSettings
    draw: DrawSettings
    score: ScoreSettings
    calibrate: CalibrateSettings
    generalize: GeneralizeSettings
    rarity: QuerySettings
    fixed_location: FixedLocationSettings
    popularity: PopularitySettings
