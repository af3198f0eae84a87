"""Captions: one phrase an element, joined by "and", never a count and never a group (supplement 2.1, note 1).

The supplement's own example, "big red full circle and small empty blue square", puts texture before color
in one phrase and after it in the other. Here the order of words is always size, color, texture, shape:
"big red full circle and small blue empty square". An image without elements has the empty caption.

The order of elements depends on no place, and not on which was painted first. `fixed` sorts them by class
(big before small, red before green before blue, full before empty; circle, square, triangle, hexagon,
star), so that a set of elements has one caption; `shuffled` is a uniform order, drawn for each image.
"""

from collections.abc import Callable, Sequence

from origcli.scenes.elements import Element

JOINT = " and "


def caption(elements: Sequence[Element], order: str = "fixed") -> str:
    """The caption of elements.

    Args:
        order: "fixed" sorts them by class, "given" leaves them as they stand.
    """
    listed = sorted(elements) if order == "fixed" else elements
    return JOINT.join(element.phrase for element in listed)


def shuffled(elements: Sequence[Element], below: Callable[[int], int]) -> tuple[Element, ...]:
    """A uniform order of elements (Fisher and Yates).

    Args:
        below: gives a uniform number under its argument.
    """
    order = list(elements)
    for last in range(len(order) - 1, 0, -1):
        other = below(last + 1)
        order[last], order[other] = order[other], order[last]
    return tuple(order)


def parse_caption(text: str) -> tuple[Element, ...]:
    """The elements that a caption names, in its order; none for an empty or blank caption.

    Raises:
        UsageError: a phrase is not that of an element.
    """
    if not text.strip():
        return ()
    return tuple(Element.parse(phrase) for phrase in text.split(JOINT))
