"""What all functions share: the words of a call, the settings that they make, and the run that they open."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from origcli.errors import nearest
from origcli.files import expanded
from origcli.runtime.distributed import alone
from origcli.runtime.progress import load_tqdm, open_progress
from origcli.runtime.run_place import place_of, request_of

if TYPE_CHECKING:
    from origcli.images.inputs import Input
    from origcli.reports.envelope import LeftOut
    from origcli.runtime.context import Runtime
    from origcli.runtime.progress import Progress
    from origcli.settings import Settings

load_tqdm()  # before any library does

AnyPath = str | PathLike[str]
Paths = AnyPath | Sequence[AnyPath]
Images = Any  # what `images.given` takes: a path, an address, an image in memory, a data set, or several
Preset = str | Sequence[str]
SettingsTree = Mapping[str, Mapping[str, Any]]

P = ParamSpec("P")
R = TypeVar("R")

# Keywords that set something, by the setting; those of a single function are defined beside it.
RUNTIME = {
    "seed": "runtime.seed",
    "device": "runtime.device",
    "dtype": "runtime.dtype",
    "threads": "runtime.threads",
    "compile": "runtime.compile",
    "offline": "runtime.offline",
}
DRAWING = {"denoising_steps": "draw.steps", "guidance": "draw.guidance", "scheduler": "draw.scheduler"}
MEASURE = {
    "model": "score.model",
    "max_tokens": "score.max_tokens",
    "samples": "score.samples",
    "metric": "score.metric",
    "detector": "score.detector",
    "threshold": "score.threshold",
    "calibrate": "score.calibrate",
    "reference": "score.reference",
    "until_reached": "score.until_reached",
    "repeats": "score.repeats",
    "learning_steps": "invert.steps",
    "templates": "invert.templates",
    "edit_prompt": "score.edit_prompt",
    "crop": "score.crop",
    "measure_anyway": "score.measure_anyway",
    "together": "score.together",
    "keep_images": "score.keep_images",
    "workers": "runtime.workers",
    **DRAWING,
}

# Words that commands had, and what they are called now.
_FORMER = {
    "images": "samples",
    "steps": "denoising_steps",
    "invert_steps": "learning_steps",
    "ceiling_images": "ceiling_samples",
}
_TRAININGS = ("vae", "unet", "transformer", "detector")  # what may run in the processes of one launch


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which names the nearest keyword when it is given one that it does not have."""
    parameters = inspect.signature(function).parameters
    names = [
        name for name, parameter in parameters.items() if parameter.kind is not parameter.POSITIONAL_ONLY
    ]

    @wraps(function)
    def call(*arguments: P.args, **words: P.kwargs) -> R:
        for word in words.keys() - set(names):
            former = _FORMER.get(word, "")
            hint = f"it is called {former!r} now" if former in names else nearest(word, names[1:])
            raise TypeError(f"{function.__name__}() has no keyword {word!r}: {hint}")
        return function(*arguments, **words)

    return call


@dataclass(frozen=True)
class Call:
    """A call of a function: what it asks for.

    Attributes:
        command: the command that does the same.
        out: directory of the run; `None` for one under `runs/`.
    """

    command: str
    settings: "Settings"
    out: Path | None = None
    resume: bool = False
    force: bool = False
    quiet: bool = False

    @classmethod
    def of(
        cls,
        command: str,
        words: Mapping[str, Any],
        sets: Mapping[str, str],
        layered: Callable[[Sequence[str]], Sequence[str]] = lambda names: names,
    ) -> "Call":
        """A call from the arguments of a function; `None` sets nothing.

        Args:
            words: the function's arguments, by name.
            sets: the settings that they set, `section.field`, by name; those of `RUNTIME` beside them.
            layered: from the presets that are asked for to those that the command takes.

        Raises:
            OrigError: a setting that there is not, or a value out of range.
        """
        given = {
            path: words[name] for name, path in {**RUNTIME, **sets}.items() if words.get(name) is not None
        }
        return cls(
            command,
            settings_of(given, words.get("settings"), words.get("preset"), words.get("config"), layered),
            None if words.get("out") is None else as_path(words["out"]),
            bool(words.get("resume")),
            bool(words.get("force")),
            bool(words.get("quiet")),
        )

    def kept(self, cache: bool) -> Path | None:
        """Where results are kept by content, if that is wanted and there is such a place."""
        from origcli.runtime.cache import SCORES, find_cache

        return find_cache(SCORES, self.progress.say) if cache else None

    @property
    def progress(self) -> "Progress":
        """Where its progress and remarks go."""
        return open_progress(self.quiet)

    @contextmanager
    def opened(self, names: Sequence[str], **more: Any) -> "Iterator[Runtime]":
        """A run over the named images, in its own directory."""
        request = request_of(self.command, self.settings, names, **more)
        place = place_of(self.command, self.out, names, request, self.resume, self.force)
        with self._opened(place) as runtime:
            yield runtime
        runtime.progress.say(f"{self.command}: {runtime.given}")

    @contextmanager
    def opened_in(self, directory: Path) -> "Iterator[Runtime]":
        """A run in `out`, else in a directory that is the same for each call."""
        from origcli.runtime.run_place import RunPlace, existing

        place = RunPlace(self.out or directory, existing(self.resume, self.force))
        with self._opened(place) as runtime:
            yield runtime
        runtime.progress.say(f"{self.command}: {runtime.given}")

    @contextmanager
    def opened_nowhere(self) -> "Iterator[Runtime]":
        """A runtime that writes nothing."""
        with self._opened(None) as runtime:
            yield runtime

    @contextmanager
    def _opened(self, place: Any) -> "Iterator[Runtime]":
        from origcli.runtime.context import open_runtime

        with (
            alone(trains=self.command in _TRAININGS),
            open_runtime(self.settings.runtime, place, self.progress) as runtime,
        ):
            yield runtime


def settings_of(
    given: Mapping[str, Any],
    settings: SettingsTree | None = None,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    layered: Callable[[Sequence[str]], Sequence[str]] = lambda names: names,
) -> "Settings":
    """The effective settings: keywords before `settings`, these before variables, `config` and presets.

    Args:
        given: values by `section.field`.
        layered: from the presets that are asked for to those that the command takes.
    """
    from origcli.presets import DEFAULT_PRESETS
    from origcli.settings import preset_names, resolve

    tree = {name: dict(values) for name, values in (settings or {}).items()}
    for path, value in given.items():
        section, _, field = path.partition(".")
        tree.setdefault(section, {})[field] = str(value) if isinstance(value, PathLike) else value
    names = (preset_names(preset) if isinstance(preset, str) else preset) or DEFAULT_PRESETS
    return resolve(tree, presets=layered(names), config=None if config is None else as_path(config))[0]


def as_path(path: AnyPath) -> Path:
    """A path that was given, with `~` expanded.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(path, str | PathLike):
        raise TypeError(f"{type(path).__qualname__} is no path: give a str or os.PathLike")
    return Path(expanded(str(path)))


def as_weights(weights: AnyPath) -> Path:
    """A directory of weights that was given: its path, or as a str the name `shapes`.

    Raises:
        TypeError: it is no path.
    """
    from origcli.weights.registry import weights_directory

    return weights_directory(expanded(weights)) if isinstance(weights, str) else as_path(weights)


def as_paths(paths: Paths) -> list[Path]:
    """One path or several."""
    return [as_path(path) for path in ([paths] if isinstance(paths, str | PathLike) else paths)]


def inputs_of(
    call: Call,
    images: Images,
    *,
    names: Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    group_column: str | None = None,
    image_column: str | None = None,
    follow_links: bool = False,
) -> "tuple[list[Input], list[LeftOut]]":
    """The images of a call, as its command finds them, and what their folders and archives hold besides.

    Raises:
        TypeError: something is no image.
        InputError: a path leads to none, or a list cannot be read.
    """
    from origcli.images.given import given_images
    from origcli.images.inputs import find_inputs

    given = given_images(
        images, names=names, groups=groups, group_column=group_column, image_column=image_column
    )
    left_out: list[LeftOut] = []
    inputs = find_inputs(
        given,
        group_column=group_column,
        image_column=image_column,
        follow_links=follow_links,
        offline=call.settings.runtime.offline,
        say=call.progress.say,
        left_out=left_out,
    )
    return inputs, left_out
