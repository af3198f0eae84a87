"""What a data set says about a picture: its line of metadata.jsonl and its YOLO labels."""

import json
from typing import Any

from origcli.scenes.elements import ALL_ELEMENTS, Element
from origcli.scenes.scene import Placed, Scene

DIGITS = 6
# A detector cannot learn to name a sliver: metadata has every element, the labels those of which this
# share can be seen.
LABELLED_SHARE = 0.1


def element_record(placed: Placed) -> dict[str, Any]:
    """An element, its centre, the box of what can be seen of it (or null) and the share that is hidden."""
    box = None if placed.box is None else [round(side, DIGITS) for side in placed.box]
    return {
        "element": placed.element.phrase,
        "x": round(placed.x, DIGITS),
        "y": round(placed.y, DIGITS),
        "box": box,
        "covered": round(placed.covered, DIGITS),
    }


def scene_record(scene: Scene, file_name: str, text: str) -> dict[str, Any]:
    """The metadata of a picture, as Hugging Face's imagefolder reads it."""
    return {
        "file_name": file_name,
        "text": text,
        "category": scene.category,
        "elements": [element_record(placed) for placed in scene.placed],
    }


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


def record_line(record: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(record, separators=(", ", ": "), allow_nan=False) + "\n"


def yolo_labels(scene: Scene) -> str:
    """Lines of class, centre x and y, width and height, as fractions of the picture."""
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
    """The `data.yaml` of ultralytics: all 60 classes, whichever are in use, so that class numbers are one."""
    names = "".join(f"  {element.index}: {element.phrase}\n" for element in ALL_ELEMENTS)
    return f"train: images\nval: images\nnames:\n{names}"  # without a path they stand beside this file
