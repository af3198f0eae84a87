"""`origcli synth`: data sets of coloured shapes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from origcli.cli import options, present

if TYPE_CHECKING:
    from origcli.scenes.mixtures import Recipe

ELEMENTS = "Elements"
MIXTURE = "Mixture"
COLUMNS = ("kind", "pictures", "share", "expected")


def synth(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Directory of the data set; made where it is missing.")
    ],
    count: Annotated[
        int | None, typer.Option("--count", "-n", metavar="N", help="Pictures. [default: 100000]")
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            "--resolution", metavar="PX", help="Width and height, 32 to 1024. [default: small 64, paper 256]"
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option("--shards", metavar="N", help="Write N WebDataset tars instead of a file a picture."),
    ] = None,
    caption_order: Annotated[
        str | None,
        typer.Option(
            "--caption-order",
            metavar="ORDER",
            autocompletion=lambda: ["fixed", "shuffled"],
            help="Elements in captions: fixed (by class) or shuffled. [default: fixed]",
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            "--preview", metavar="FILE", help="Draw the first pictures with boxes and captions (PNG)."
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--sizes",
            metavar="WORDS",
            help="big,small. [default: both; originality: big]",
            rich_help_panel=ELEMENTS,
        ),
    ] = None,
    colors: Annotated[
        list[str] | None,
        typer.Option(
            "--colors", metavar="WORDS", help="red,green,blue. [default: all]", rich_help_panel=ELEMENTS
        ),
    ] = None,
    textures: Annotated[
        list[str] | None,
        typer.Option(
            "--textures",
            metavar="WORDS",
            help="full,empty. [default: both; originality: full]",
            rich_help_panel=ELEMENTS,
        ),
    ] = None,
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--shapes",
            metavar="WORDS",
            help="circle,square,triangle,hexagon,star. [default: all]",
            rich_help_panel=ELEMENTS,
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out",
            metavar="WORDS",
            help='Leave out all that matches, e.g. "blue circle"; may be given again.',
            rich_help_panel=ELEMENTS,
        ),
    ] = None,
    mixture: Annotated[
        str | None,
        typer.Option(
            "--mixture",
            metavar="NAME",
            autocompletion=lambda: ["uniform", "originality"],
            help="uniform, or originality: common and rare pairs, all big and full. [default: uniform]",
            rich_help_panel=MIXTURE,
        ),
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(
            "--category",
            metavar="NAME",
            autocompletion=lambda: ["common", "rare", "unseen", "rest"],
            help="A query set of one kind: common, rare, unseen or rest, drawn apart from all training sets.",
            rich_help_panel=MIXTURE,
        ),
    ] = None,
    max_elements: Annotated[
        int | None,
        typer.Option(
            "--max-elements",
            metavar="N",
            help="Most elements a picture. [default: 4]",
            rich_help_panel=MIXTURE,
        ),
    ] = None,
    empty: Annotated[
        float | None,
        typer.Option(
            "--empty",
            metavar="SHARE",
            help="Pictures without elements. [default: 0.1]",
            rich_help_panel=MIXTURE,
        ),
    ] = None,
    no_overlap: Annotated[
        bool | None,
        typer.Option(
            "--no-overlap/--overlap",
            help="Keep elements apart from each other. [default: overlap]",
            rich_help_panel=MIXTURE,
        ),
    ] = None,
    fixed_location: Annotated[
        bool | None,
        typer.Option(
            "--fixed-location/--free-location",
            help="Each element of a common pair at its own one place. [default: free]",
            rich_help_panel=MIXTURE,
        ),
    ] = None,
    seed: options.SeedOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-j",
            metavar="N",
            min=1,
            help="Processes; the files do not depend on it. [default: one a core]",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    resume: options.ResumeOption = False,
    force: options.ForceOption = False,
    dry_run: options.DryRunOption = False,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> None:
    """Make a data set of coloured shapes: pictures, captions, boxes and labels.

    OUT loads with datasets.load_dataset("imagefolder") and trains with yolo as it is. Picture i depends
    on the seed and i alone: a longer set begins with the shorter one.

    \b
    Examples:
      origcli synth data/shapes --mixture originality
      origcli synth data/queries --mixture originality --category unseen --count 20 --no-overlap
      origcli synth data/no-blue-circle --hold-out "blue circle" --max-elements 6
      origcli synth data/four --shapes circle,square --colors red,blue --sizes big --textures full
      origcli synth data/large --shards 64 --count 1000000 --resolution 256
    """
    flags: dict[str, dict[str, Any]] = {
        "runtime": {"seed": seed},
        "synth": {
            "count": count,
            "resolution": resolution,
            "shards": shards,
            "caption_order": caption_order,
            "sizes": _words(sizes),
            "colors": _words(colors),
            "textures": _words(textures),
            "shapes": _words(shapes),
            "hold_out": tuple(hold_out) if hold_out else None,
            "mixture": mixture,
            "category": category,
            "max_elements": max_elements,
            "empty": empty,
            "no_overlap": no_overlap,
            "fixed_location": fixed_location,
        },
    }
    settings = options.load_settings(preset, config, flags)
    from origcli.scenes.mixtures import Recipe

    recipe = Recipe(settings.synth, settings.runtime.seed)
    if dry_run:
        _present_plan(recipe, form)
        return
    from origcli.runtime.workers import available_cores
    from origcli.scenes.writing import write_dataset

    dataset = write_dataset(
        recipe,
        out,
        workers=workers or settings.runtime.threads or available_cores(),
        existing=options.existing(resume, force),
        progress=present.progress(quiet),
    )
    if preview is not None:
        from origcli.scenes.preview import write_preview

        write_preview(dataset, preview)
    kinds = dataset.facts["frequencies"]["kinds"]
    present.rows(_rows(kinds), COLUMNS, form, title=f"{len(dataset)} pictures in {out}", whole=dataset.facts)


def _words(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """The words of an option that takes a list: separated by commas, or the option given again."""
    if not given:
        return None
    return tuple(word.strip().lower() for text in given for word in text.split(",") if word.strip())


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
    title = f"{count} pictures of {len(recipe.elements)} elements, to be made"
    present.rows(_rows(kinds), COLUMNS, form, title=title, whole=plan)
