"""How often kinds of pictures, numbers and elements came up, and whether it is as the mixture says."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from origcli.scenes.captions import caption
from origcli.scenes.elements import CORE_SHAPES
from origcli.scenes.mixtures import PAIRS, Recipe, core_probability
from origcli.scenes.scene import Scene

# Under this expected count the chi-square distribution does not describe the statistic.
_LEAST_EXPECTED = 5.0

Tally = Counter[str]


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


def tally(counts: Tally, scene: Scene) -> None:
    """Adds a scene to the counts that the laws speak of, e.g. of "number/rest/2"."""
    kind, elements = scene.category, scene.elements
    counts[f"category/{kind}"] += 1
    counts[f"number/{kind}/{len(elements)}"] += 1
    for element in elements:
        counts[f"element/{kind}/{element.phrase}"] += 1
    if kind in PAIRS:
        counts[f"pair/{kind}/{caption(elements)}"] += 1
    elif kind == "rest":
        core = any(element.shape in CORE_SHAPES for element in elements)
        counts[f"core/{len(elements)}/{'one' if core else 'none'}"] += 1


def _even(what: str, keys: Sequence[str]) -> Law:
    return Law(what, dict.fromkeys(keys, 1 / len(keys)))


def category_shares(recipe: Recipe) -> dict[str, float]:
    """The probability of each kind of picture."""
    settings = recipe.settings
    if settings.category is not None:
        return {settings.category: 1.0}
    if settings.mixture == "uniform":
        return {"empty": settings.empty, "uniform": 1 - settings.empty}
    rest = 1 - settings.empty - settings.common - settings.rare
    return {"empty": settings.empty, "common": settings.common, "rare": settings.rare, "rest": rest}


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


def chi_square_tail(statistic: float, freedom: int) -> float:
    """The probability of a chi-square statistic at least so large (Abramowitz and Stegun 26.4.4, 26.4.5).

    Exact for whole degrees of freedom, of which there is at least one. SciPy's takes half a second to
    import, as long as a thousand pictures take to make.
    """
    half = statistic / 2
    if half == 0:
        return 1.0
    odd = freedom % 2
    powers = (i + odd / 2 for i in range(freedom // 2))
    terms = [math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers]
    return min(math.fsum([math.erfc(math.sqrt(half)) * odd, *terms]), 1.0)


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
    p_value = chi_square_tail(statistic, freedom)
    return {**result, "statistic": statistic, "degrees_of_freedom": freedom, "p_value": p_value}


def _prefix(key: str) -> str:
    """What a key is about: "number/rest" of "number/rest/2"."""
    return key.rpartition("/")[0]


def frequency_facts(recipe: Recipe, counts: Tally) -> dict[str, Any]:
    """The realised frequencies for `dataset.json`, beside those of the mixture."""
    total = sum(counts[key] for key in counts if key.startswith("category/"))
    kinds = {
        kind: {
            "pictures": counts[f"category/{kind}"],
            "share": counts[f"category/{kind}"] / total if total else 0.0,
            "expected": share,
        }
        for kind, share in category_shares(recipe).items()
    }
    numbers: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for key, count in counts.items():
        what, value = key.split("/")[0], key.split("/")[-1]
        if what == "number":
            numbers[value] += count
        elif what == "element":
            elements[value] += count
    return {
        "kinds": kinds,
        "numbers": dict(numbers),
        "elements": {element.phrase: elements[element.phrase] for element in recipe.elements},
        "chi_square": [chi_square(counts, law) for law in laws(recipe)],
    }
