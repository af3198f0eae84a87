"""`origcli synth`: data sets of colored shapes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from origcli.cli import options, present
from origcli.cli.binding import Sets, argument, flag, option
from origcli.cli.run import ALL, COMPUTING, Run, command

if TYPE_CHECKING:
    from origcli.scenes.mixtures import Recipe

ELEMENTS = "Elements"
MIXTURE = "Mixture"
COLUMNS = ("kind", "pictures", "share", "expected")


def _words(given: Sequence[str]) -> tuple[str, ...]:
    """The words of an option that takes a list: separated by commas, or the option given again."""
    return tuple(word.strip().lower() for text in given for word in text.split(",") if word.strip())


def _one_of(name: str, known: str) -> Any:
    return option(name, "WORDS", known, ELEMENTS)


@command(ALL - COMPUTING - {"out"})
def synth(
    out: Annotated[Path, argument("OUT", "Directory of the data set; created if missing.")],
    count: Annotated[
        int | None,
        option("-n --count", "N", "Number of images."),
        Sets("synth.count"),
    ] = None,
    resolution: Annotated[
        int | None,
        option("--resolution", "PX", "Width and height, 32 to 1024."),
        Sets("synth.resolution"),
    ] = None,
    shards: Annotated[
        int | None,
        option("--shards", "N", "Write N WebDataset tars instead of one file for each image."),
        Sets("synth.shards"),
    ] = None,
    caption_order: Annotated[
        str | None,
        option(
            "--caption-order",
            "ORDER",
            "Elements in captions: fixed (by class) or shuffled.",
            words=("fixed", "shuffled"),
        ),
        Sets("synth.caption_order"),
    ] = None,
    preview: Annotated[
        Path | None,
        option("--preview", "FILE", "Write a PNG of the first images with boxes and captions."),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        _one_of("--sizes", "big,small."),
        Sets("synth.sizes", _words, unset="both; originality: big"),
    ] = None,
    colors: Annotated[
        list[str] | None, _one_of("--colors", "red,green,blue."), Sets("synth.colors", _words)
    ] = None,
    textures: Annotated[
        list[str] | None,
        _one_of("--textures", "full,empty."),
        Sets("synth.textures", _words, unset="both; originality: full"),
    ] = None,
    shapes: Annotated[
        list[str] | None,
        _one_of("--shapes", "circle,square,triangle,hexagon,star."),
        Sets("synth.shapes", _words),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        option(
            "--hold-out",
            "WORDS",
            'Leave out all elements that match, e.g. "blue circle"; repeatable.',
            ELEMENTS,
        ),
        Sets("synth.hold_out", tuple),
    ] = None,
    mixture: Annotated[
        str | None,
        option(
            "--mixture",
            "NAME",
            "uniform, or originality: common and rare pairs, all big and full.",
            MIXTURE,
            words=("uniform", "originality"),
        ),
        Sets("synth.mixture"),
    ] = None,
    category: Annotated[
        str | None,
        option(
            "--category",
            "NAME",
            "A set of one kind of images: common, rare, unseen or rest, separate from all training sets.",
            MIXTURE,
            words=("common", "rare", "unseen", "rest"),
        ),
        Sets("synth.category"),
    ] = None,
    max_elements: Annotated[
        int | None,
        option("--max-elements", "N", "Maximum number of elements in an image.", MIXTURE),
        Sets("synth.max_elements"),
    ] = None,
    empty: Annotated[
        float | None,
        option("--empty", "SHARE", "Share of images without elements.", MIXTURE),
        Sets("synth.empty"),
    ] = None,
    no_overlap: Annotated[
        bool | None,
        flag("--no-overlap/--overlap", "Keep elements apart from each other.", MIXTURE),
        Sets("synth.no_overlap"),
    ] = None,
    fixed_location: Annotated[
        bool | None,
        flag(
            "--fixed-location/--free-location",
            "Put each element of a common pair at one fixed place.",
            MIXTURE,
        ),
        Sets("synth.fixed_location"),
    ] = None,
    workers: Annotated[
        int | None,
        option(
            "-j --workers",
            "N",
            "Processes; the files do not depend on it. [default: one a core]",
            options.COMPUTE,
            min=1,
        ),
    ] = None,
    *,
    run: Run,
) -> None:
    """Make a data set of colored shapes: images, captions, boxes and labels.

    OUT can be loaded with datasets.load_dataset(OUT) and trained on with yolo. Image i depends only on
    the seed and i: a longer set begins with the shorter one.

    \b
    Examples:
      origcli synth data/shapes --mixture originality
      origcli synth data/queries --mixture originality --category unseen --count 20 --no-overlap
      origcli synth data/no-blue-circle --hold-out "blue circle" --max-elements 6
      origcli synth data/four --shapes circle,square --colors red,blue --sizes big --textures full
      origcli synth data/large --shards 64 --count 1000000 --resolution 256
    """
    settings = run.settings
    from origcli.scenes.mixtures import Recipe

    recipe = Recipe(settings.synth, settings.runtime.seed)
    if run.dry_run:
        _present_plan(recipe, run.form)
        return
    from origcli.runtime.machine import cores
    from origcli.scenes.writing import write_dataset

    dataset = write_dataset(
        recipe,
        out,
        workers=workers or settings.runtime.threads or cores(),
        existing=run.existing,
        progress=run.progress,
    )
    if preview is not None:
        from origcli.scenes.preview import write_preview

        write_preview(dataset, preview)
    kinds = dataset.facts["frequencies"]["kinds"]
    present.rows(
        _rows(kinds), COLUMNS, run.form, title=f"{len(dataset)} images in {out}", whole=dataset.facts
    )


def _rows(kinds: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"kind": kind, **facts} for kind, facts in kinds.items()]


def _present_plan(recipe: "Recipe", form: options.Format) -> None:
    from origcli.scenes.frequencies import category_shares
    from origcli.scenes.writing import recipe_facts, recipe_hash

    count = recipe.settings.count
    kinds = {
        kind: {"pictures": round(count * share), "share": None, "expected": share}
        for kind, share in category_shares(recipe).items()
    }
    plan = {
        "recipe": recipe_facts(recipe),
        "hash": recipe_hash(recipe),
        "elements": [element.phrase for element in recipe.elements],
        "kinds": kinds,
    }
    title = f"{count} images of {len(recipe.elements)} elements, planned"
    present.rows(_rows(kinds), COLUMNS, form, title=title, whole=plan)
