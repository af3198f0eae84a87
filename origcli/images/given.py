"""Images as programs give them: paths, addresses, images in memory, rows of data sets; named or numbered."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image

from origcli.files import expanded
from origcli.images.hub_datasets import rows_of
from origcli.images.sources import INSIDE, Found, MemoryImage, Source
from origcli.images.web import WebImage, is_address
from origcli.runtime.paths import path_of

ACCEPTED = (
    "give a path, an address, a PIL image, bytes of an image file, a uint8 array or tensor (h, w, 3), "
    "a data set of `datasets`, or several of these as a list or a mapping of names"
)
_MEMORY = f"memory{INSIDE}"
_RGB = 3


@dataclass(frozen=True, eq=False)
class ArrayImage:
    """An array or tensor of bytes (h, w, 3), which becomes an image when it is wanted."""

    where: str
    array: Any

    def read(self) -> Image.Image:
        """The image."""
        array = self.array.detach().cpu().numpy() if hasattr(self.array, "detach") else self.array
        return Image.fromarray(array)


def given_images(
    images: Any,
    *,
    names: Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    group_column: str | None = None,
    image_column: str | None = None,
) -> list[str | Found]:
    """What `find_inputs` takes, from what a program gives.

    Args:
        images: one image or several. A mapping gives them names.
        names: one for each image, instead of the names of files and numbers.
        groups: one for each image, or one for all.
        group_column, image_column: of a data set.

    Raises:
        TypeError: something is no image, or there are not as many names or groups as images.
        InputError: a data set has no column of images, or several.
    """
    dataset, column = _dataset_of(images)
    if dataset is not None:
        found = rows_of(dataset, "dataset", group_column, column or image_column)
        return list(_labelled(found, names, groups))
    if isinstance(images, Mapping):
        if names is not None:
            raise TypeError("names are given twice: as keys of the images, and by names=")
        names, images = [str(name) for name in images], list(images.values())
    items = [images] if _is_one(images) else _listed(images)
    if names is None and groups is None:
        return [
            os.fsdecode(item) if isinstance(item, str | PathLike) else _in_memory(item, number, image_column)
            for number, item in enumerate(items, 1)
        ]
    found = [
        _at(item) if isinstance(item, str | PathLike) else _in_memory(item, number, image_column)
        for number, item in enumerate(items, 1)
    ]
    return list(_labelled(found, names, groups))


def _labelled(
    found: Sequence[Found], names: Sequence[str] | None, groups: str | Sequence[str] | None
) -> Iterable[Found]:
    """Images with names and groups, as many as there are images.

    Raises:
        TypeError: there are more or fewer.
    """
    if isinstance(names, str):
        names = [names]
    if isinstance(groups, str):
        groups = [groups] * len(found)
    for what, labels in (("names", names), ("groups", groups)):
        if labels is not None and len(labels) != len(found):
            raise TypeError(f"{len(labels)} {what} for {len(found)} images: give one for each")
    for place, image in enumerate(found):
        if names is not None:
            image = image._replace(stem=str(names[place]), source=_renamed(image.source, str(names[place])))
        if groups is not None:
            image = image._replace(group=str(groups[place]).strip("/"))
        yield image


def _renamed(source: Path | Source, name: str) -> Path | Source:
    """An image in memory under its name; a file keeps its path."""
    if isinstance(source, MemoryImage):
        return MemoryImage(f"{_MEMORY}{name}", source.content)
    return ArrayImage(f"{_MEMORY}{name}", source.array) if isinstance(source, ArrayImage) else source


def _is_one(images: Any) -> bool:
    return isinstance(images, str | PathLike | bytes | bytearray | Image.Image) or _is_array(images)


def _is_array(value: Any) -> bool:
    """Whether it is an array or a tensor, of whatever library."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _listed(images: Any) -> list[Any]:
    if not isinstance(images, Iterable):
        raise TypeError(f"{_kind(images)} is not accepted: {ACCEPTED}")
    return list(images)


def _dataset_of(images: Any) -> tuple[Any, str | None]:
    """The data set of `datasets` that was given, or whose column was."""
    if type(images).__module__.partition(".")[0] != "datasets":
        return None, None
    if hasattr(images, "column_name") and hasattr(images, "source"):
        return images.source, images.column_name
    if isinstance(images, Mapping):
        raise TypeError(f"{_kind(images)} is not accepted: give one of its splits: {', '.join(images)}")
    if not hasattr(images, "select_columns") or not hasattr(images, "__len__"):
        raise TypeError(f"{_kind(images)} is not accepted: give one split that is not streamed, or its rows")
    return images, None


def _at(path: str | PathLike[str]) -> Found:
    """The image at a path or an address, which has to be a single one."""
    text = os.fsdecode(path)
    if is_address(text):
        image = WebImage(text)
        return Found(image, stem=image.stem)
    return Found(path_of(expanded(text)))


def _in_memory(item: Any, number: int, image_column: str | None) -> Found:
    """An image in memory, called by its number.

    Raises:
        TypeError: it is none, or an array of other values.
    """
    where, stem = f"{_MEMORY}{number}", f"image-{number}"
    if isinstance(item, Mapping):
        item = _of_row(item, image_column)
    if isinstance(item, Image.Image):
        return Found(MemoryImage(where, item), stem=stem)
    if isinstance(item, bytes | bytearray):
        return Found(MemoryImage(where, bytes(item)), stem=stem)
    if _is_array(item):
        _check_array(item, number)
        return Found(ArrayImage(where, item), stem=stem)
    raise TypeError(f"{_kind(item)} is not accepted: {ACCEPTED}")


def _of_row(row: Mapping[str, Any], image_column: str | None) -> Any:
    """The image of a row of `datasets`, decoded or not.

    Raises:
        TypeError: it has none, or several and none is named.
    """
    if image_column is not None:
        if image_column not in row:
            raise TypeError(f"a row without {image_column!r}: it has {', '.join(map(str, row))}")
        value = row[image_column]
        return value["bytes"] if isinstance(value, Mapping) else value
    if isinstance(row.get("bytes"), bytes):
        return row["bytes"]
    images = [name for name, value in row.items() if _holds_image(value)]
    if len(images) != 1:
        names = ", ".join(map(str, row))
        found = f"several images: {', '.join(images)}" if images else f"no image: it has {names}"
        raise TypeError(f"a row with {found}; choose with image_column=")
    value = row[images[0]]
    return value["bytes"] if isinstance(value, Mapping) else value


def _holds_image(value: Any) -> bool:
    if isinstance(value, Mapping):
        return isinstance(value.get("bytes"), bytes)
    return isinstance(value, Image.Image | bytes | bytearray) or (_is_array(value) and len(value.shape) > 1)


def _check_array(array: Any, number: int) -> None:
    """Refuses arrays whose values would have to be guessed at.

    Raises:
        TypeError: not bytes, or not (h, w, 3).
    """
    kind = str(array.dtype).removeprefix("torch.")
    shape = tuple(array.shape)
    told = f"image {number} is an array of {kind} {shape}"
    if kind != "uint8":
        raise TypeError(f"{told}: give uint8 from 0 to 255, e.g. (array * 255).round().astype('uint8')")
    if len(shape) != 3 or shape[-1] != _RGB:
        if len(shape) == 4:
            hint = "give the images of a batch as a list: list(array)"
        elif len(shape) == 3 and shape[0] == _RGB:
            hint = "give (h, w, 3): array.transpose(1, 2, 0), of a tensor tensor.permute(1, 2, 0)"
        else:
            hint = "give (h, w, 3), or a PIL image"
        raise TypeError(f"{told}: {hint}")
    if 0 in shape:
        raise TypeError(f"{told}: it has no pixels")


def _kind(value: object) -> str:
    """The name of something that is no image, for an error."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
