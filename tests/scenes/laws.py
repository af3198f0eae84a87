"""What a recipe's mixture says about frequencies, and Pearson's test of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from scipy.stats import chi2

from origcli.scenes.captions import caption
from origcli.scenes.elements import CORE_SHAPES
from origcli.scenes.frequencies import Tally, category_shares, tally
from origcli.scenes.mixtures import PAIRS, Recipe, core_probability
from origcli.scenes.scene import Scene

# Under this expected count the chi-square distribution does not describe the statistic.
_LEAST_EXPECTED = 5.0


def tally_of(scenes: Iterable[Scene]) -> Tally:
    """The counts that the laws speak of: those of a data set, and of pairs and core elements."""
    counts: Tally = Counter()
    for scene in scenes:
        tally(counts, scene)
        kind, elements = scene.category, scene.elements
        if kind in PAIRS:
            counts[f"pair/{kind}/{caption(elements)}"] += 1
        elif kind == "rest":
            core = any(element.shape in CORE_SHAPES for element in elements)
            counts[f"core/{len(elements)}/{'one' if core else 'none'}"] += 1
    return counts


@dataclass(frozen=True)
class Law:
    """What a mixture says about one thing.

    Attributes:
        shares: key of the tally -> probability, in all 1.
        elsewhere: keys of the same prefix that another law speaks of; all others are impossible.
    """

    what: str
    shares: Mapping[str, float]
    elsewhere: frozenset[str] = frozenset()


def _even(what: str, keys: Sequence[str]) -> Law:
    return Law(what, dict.fromkeys(keys, 1 / len(keys)))


def laws(recipe: Recipe) -> list[Law]:
    """All that a recipe's mixture says about frequencies."""
    shares = category_shares(recipe)
    found = [Law("kinds of pictures", {f"category/{kind}": share for kind, share in shares.items()})]
    for kind in shares:
        if kind in PAIRS:
            found.append(_pair_law(recipe, kind))
        elif kind == "uniform":
            found.append(_number_law(recipe, kind))
            found.append(_even("elements", [f"element/uniform/{e.phrase}" for e in recipe.elements]))
        elif kind == "rest":
            found.extend(_rest_laws(recipe))
    return found


def _number_law(recipe: Recipe, kind: str) -> Law:
    numbers = range(1, recipe.settings.max_elements + 1)
    return _even(f"numbers of elements in {kind} pictures", [f"number/{kind}/{n}" for n in numbers])


def _pair_law(recipe: Recipe, kind: str) -> Law:
    first, second = (recipe.of_shape(shape) for shape in PAIRS[kind])
    return _even(f"pairs of {kind} pictures", [f"pair/{kind}/{caption(p)}" for p in product(first, second)])


def _rest_laws(recipe: Recipe) -> list[Law]:
    core = _even("core elements of the rest", [f"element/rest/{e.phrase}" for e in recipe.core])
    if not recipe.others:
        return [core]
    others = _even("other elements of the rest", [f"element/rest/{e.phrase}" for e in recipe.others])
    found = [
        replace(core, elsewhere=frozenset(others.shares)),
        replace(others, elsewhere=frozenset(core.shares)),
        _number_law(recipe, "rest"),
    ]
    for number in range(1, recipe.settings.max_elements + 1):
        share = core_probability(number, len(recipe.core), len(recipe.others))
        shares = {f"core/{number}/one": share, f"core/{number}/none": 1 - share}
        found.append(Law(f"a core element among {number} of the rest", shares))
    return found


def chi_square(counts: Mapping[str, int], law: Law) -> dict[str, Any]:
    """Pearson's test of a law: statistic, degrees of freedom, p-value.

    The p-value is `None` with a reason where too few are expected for the test to mean something.
    A count where the law gives no chance is told as `impossible`, as is a key of its prefix
    that no law knows.
    """
    total = sum(counts.get(key, 0) for key in law.shares)
    expected = {key: total * share for key, share in law.shares.items() if share > 0}
    prefixes = {_prefix(key) for key in law.shares}
    impossible = sum(
        number
        for key, number in counts.items()
        if _prefix(key) in prefixes and key not in expected and key not in law.elsewhere
    )
    result: dict[str, Any] = {"what": law.what, "observed": total, "impossible": impossible}
    freedom = len(expected) - 1
    if freedom < 1 or min(expected.values()) < _LEAST_EXPECTED:
        reason = "nothing is left to chance" if freedom < 1 else "fewer than 5 expected somewhere"
        return {**result, "statistic": None, "degrees_of_freedom": freedom, "p_value": None, "reason": reason}
    statistic = sum((counts.get(key, 0) - value) ** 2 / value for key, value in expected.items())
    p_value = float(chi2.sf(statistic, freedom))
    return {**result, "statistic": statistic, "degrees_of_freedom": freedom, "p_value": p_value}


def _prefix(key: str) -> str:
    """What a key is about: "number/rest" of "number/rest/2"."""
    return key.rpartition("/")[0]
