"""Sheets of samples that show how far a denoiser in training is."""

from collections.abc import Sequence

from origcli.generation.sampling import draw_prompts
from origcli.models.pipeline import DiffusionModel
from origcli.runtime.context import Runtime
from origcli.settings import Settings
from origcli.training.report import save_sheet

SAMPLE_GUIDANCE = 2.0
_SAMPLE_STEPS = 25


def sample_prompts(prompts: Sequence[str]) -> list[str]:
    """A few captions spread over the data set's, and the empty prompt twice."""
    known = [prompt for prompt in prompts if prompt]
    stride = max(1, len(known) // 14)
    return [*known[::stride][:14], "", ""]


def draw_samples(
    model: DiffusionModel, prompts: Sequence[str], settings: Settings, runtime: Runtime, name: str
) -> None:
    """A sheet of samples of fixed prompts from fixed seeds."""
    drawing = settings.draw.model_copy(update={"steps": _SAMPLE_STEPS, "guidance": SAMPLE_GUIDANCE})
    pictures = draw_prompts(model, prompts, range(len(prompts)), drawing, runtime, description="samples")
    labels = [prompt or "(empty prompt)" for prompt in prompts]
    save_sheet(runtime.out / name, pictures, 8, labels)
