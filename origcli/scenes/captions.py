"""Captions: one phrase an element, joined by "and", never a count and never a group (supplement 2.1, note 1).

The supplement's own example, "big red full circle and small empty blue square", puts texture before colour
in one phrase and after it in the other. Here the order of words is always size, color, texture, shape:
"big red full circle and small blue empty square". A picture without elements has the empty caption.

The order of elements does not depend on where they are or which was painted first. `fixed` sorts them by
class (big before small, red before green before blue, full before empty, circle, square, triangle,
hexagon, star), so that one set of elements has one caption; `shuffled` is a uniform order of the picture's own.
"""

from collections.abc import Sequence

from origcli.errors import UsageError
from origcli.scenes.elements import Element

JOINT = " and "


def caption(elements: Sequence[Element], order: str = "fixed") -> str:
    """The caption of elements: sorted by class where `order` is "fixed", else as they stand.

    Args:
        order: "fixed", or "given" for a caller that has shuffled the elements itself.
    """
    listed = sorted(elements) if order == "fixed" else elements
    return JOINT.join(element.phrase for element in listed)


def parse_caption(text: str) -> tuple[Element, ...]:
    """The elements that a caption names, in its order; none for an empty or blank caption.

    Raises:
        UsageError: a phrase is not that of an element.
    """
    if not text.strip():
        return ()
    return tuple(Element.parse(phrase) for phrase in text.split(JOINT))


def longest_caption(max_elements: int) -> int:
    """The words of the longest caption of a data set: four an element, and the joints."""
    return 5 * max_elements - 1


def check_length(max_elements: int, max_length: int) -> None:
    """Refuses captions that a text encoder would cut. Every word here is at least one token.

    Args:
        max_length: tokens that the encoder takes, its two end tokens included.

    Raises:
        UsageError: the longest caption of a data set cannot fit.
    """
    words = longest_caption(max_elements)
    if words + 2 > max_length:
        raise UsageError(
            f"captions of {max_elements} elements have {words} words; the text encoder holds {max_length - 2}",
            "use fewer elements (--max-elements) or an encoder with a longer max_length",
        )
