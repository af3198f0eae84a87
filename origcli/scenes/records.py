"""What a data set says about an image: its line of metadata.jsonl and its YOLO labels."""

from typing import Any

from origcli.scenes.elements import ALL_ELEMENTS, Element
from origcli.scenes.scene import Placed, Scene

# A detector cannot learn to name a sliver: metadata has every element, the labels those of which this
# share can be seen.
LABELLED_SHARE = 0.1
# Lists of the images that ultralytics trains on, and validates on. Names with the words train or val would
# be splits to `datasets`, which reads the directory without its card, too.
SPLIT_NAMES = ("yolo-fit.txt", "yolo-held-out.txt")
VALIDATED = 10  # one image in so many is for validation


def _element_text(placed: Placed) -> str:
    """JSON of an element; written by hand, as `json.dumps` would take as long as painting the image."""
    box = "null"
    if placed.box is not None:
        x0, y0, x1, y1 = placed.box
        box = f"[{x0:.6f}, {y0:.6f}, {x1:.6f}, {y1:.6f}]"
    return (
        f'{{"element": "{placed.element.phrase}", "x": {placed.x:.6f}, "y": {placed.y:.6f}, '
        f'"box": {box}, "covered": {placed.covered:.6f}}}'
    )


def record_line(scene: Scene, file_name: str, caption: str, rest: str = "") -> str:
    """The line of metadata of an image, as Hugging Face's imagefolder reads it.

    Of every element it tells the center, the box of what can be seen (or null) and the share that is
    hidden, to a millionth of the width.

    Args:
        rest: more members of the JSON object.
    """
    elements = ", ".join(map(_element_text, scene.placed))
    return (
        f'{{"file_name": "{file_name}", "text": "{caption}", "category": "{scene.category}", '
        f'"elements": [{elements}]{rest}}}\n'
    )


def scene_of(record: dict[str, Any]) -> Scene:
    """The scene that a metadata record tells of."""
    placed = tuple(
        Placed(
            Element.parse(item["element"]),
            item["x"],
            item["y"],
            None if item["box"] is None else tuple(item["box"]),
            item["covered"],
        )
        for item in record["elements"]
    )
    return Scene(placed, record["category"])


def yolo_labels(scene: Scene) -> str:
    """Lines of class, center x and y, width and height, as fractions of the image."""
    lines = []
    for placed in scene.placed:
        if placed.box is not None and 1 - placed.covered >= LABELLED_SHARE:
            x0, y0, x1, y1 = placed.box
            sides = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
            lines.append(
                f"{placed.element.index} {sides[0]:.6f} {sides[1]:.6f} {sides[2]:.6f} {sides[3]:.6f}\n"
            )
    return "".join(lines)


def data_yaml() -> str:
    """The `data.yaml` of ultralytics: all 60 classes, whichever are in use, so that class numbers are one.

    Its splits are lists of files (`SPLIT_NAMES`).
    """
    names = "".join(f"  {element.index}: {element.phrase}\n" for element in ALL_ELEMENTS)
    # Without a path they stand beside this file.
    return f"train: {SPLIT_NAMES[0]}\nval: {SPLIT_NAMES[1]}\nnames:\n{names}"


def is_for_validation(index: int, count: int) -> bool:
    """Whether an image of a set is for validation: every tenth, so that a longer set keeps the split.

    Of fewer than ten it is the last; a single one is for both.
    """
    return index % VALIDATED == VALIDATED - 1 or (count < VALIDATED and index == count - 1)
