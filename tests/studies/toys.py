"""The generalization study at a scale of seconds: nothing sensible is learned, and every stage is real."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from origcli.runtime.atomic import make_directory
from origcli.runtime.context import Runtime
from origcli.runtime.run_directory import RunDirectory
from origcli.settings import Settings, resolve

TOY: dict[str, dict[str, Any]] = {
    "synth": {"count": 24, "resolution": 64},
    "vae": {
        "epochs": 0.4,
        "batch_size": 4,
        "channels": (8, 8, 8, 8),
        "norm_groups": 4,
        "held_out": 4,
        "warmup_steps": 1,
        "sample_every": 0,
    },
    "text_encoder": {
        "source": "captions",
        "width": 16,
        "heads": 2,
        "layers": 1,
        "max_length": 24,
        "steps": 2,
        "batch_size": 4,
    },
    "unet": {
        "epochs": 0.4,
        "batch_size": 4,
        "channels": (8, 16),
        "attention_head_dim": 8,
        "norm_groups": 4,
        "warmup_steps": 1,
        "sample_every": 0,
    },
    "draw": {"steps": 2, "batch_size": 2, "guidance": 2.0},
    "detect": {"confidence": 0.6},
    "generalize": {
        "levels": (4,),
        "repeats": 2,
        "samples": 10,
        "count_level": 4,
        "empty": 0.1,
        "caption_pool": 50,
        "bootstrap": 20,
    },
    "runtime": {"threads": 1},
}


def toy_settings(detector: Path, **changes: Any) -> Settings:
    """Settings of a toy study; `changes` are of its section `generalize`."""
    flags = {**TOY, "generalize": {**TOY["generalize"], "detector": str(detector), **changes}}
    return resolve(flags, presets=("small", "many"), environment={})[0]


def toy_runtime(directory: Path, seed: int = 0) -> Runtime:
    """A runtime with a run directory that nobody locks."""
    return replace(Runtime(seed=seed), directory=RunDirectory(make_directory(directory)))


def toml_of(settings: Settings) -> str:
    """The settings as a configuration file."""
    lines = []
    for section, table in settings.model_dump(mode="json", exclude_none=True).items():
        lines.append(f"[{section}]")
        for name, value in table.items():
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
