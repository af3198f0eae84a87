"""`origcli import`: a single file, LoRAs or another VAE become a pipeline directory."""

from pathlib import Path
from typing import Annotated, Any

from origcli.cli import options, present
from origcli.cli.binding import argument, option
from origcli.cli.run import Run, command

COLUMNS = ("out", "kind", "configuration", "loras", "tensors_changed", "vae", "dtype", "weights_hash")
SHOWN = COLUMNS[:-1]


@command({"force", "offline", "form", "quiet"})
def import_(
    model: Annotated[
        str,
        argument(
            "MODEL", "A single-file .safetensors checkpoint, a pipeline directory, sd15, sd14 or a Hub id."
        ),
    ],
    out: Annotated[Path, option("-o --out", "DIR", "Pipeline directory to write.", options.RUN)],
    lora: Annotated[
        list[str] | None,
        option(
            "--lora",
            "FILE[@SCALE]",
            "LoRA to merge, in the naming of diffusers or kohya, with a scale (1 unless given). Repeatable.",
        ),
    ] = None,
    vae: Annotated[
        str | None, option("--vae", "FILE|DIR", "Use another VAE: a .safetensors file, or a directory.")
    ] = None,
    model_config: Annotated[
        str | None,
        option(
            "--config",
            "NAME|DIR",
            "Configuration of a single file: sd15, sd21, sd21-base, sdxl, a pipeline directory or a Hub id. "
            "For files of Stable Diffusion 3 and FLUX: the model that the missing parts are taken from. "
            "[default: recognized from the file]",
            words=("sd15", "sd21", "sd21-base", "sdxl"),
        ),
    ] = None,
    prediction: Annotated[
        str | None,
        option(
            "--prediction",
            "NAME",
            "What the model predicts: epsilon or v_prediction. [default: what the file says]",
            words=("epsilon", "v_prediction"),
        ),
    ] = None,
    weights_dtype: Annotated[
        str,
        option(
            "--dtype",
            "NAME",
            "Type of the weights to write: stored, fp16, bf16 or fp32.",
            words=("stored", "fp16", "bf16", "fp32"),
        ),
    ] = "stored",
    *,
    run: Run,
) -> None:
    """Make a pipeline directory from a single-file checkpoint, LoRAs or another VAE.

    Every tensor is accounted for: one that is missing, unknown or of another shape is an error.
    DIR/source.json lists the hash of every file that was used. Only safetensors files are read.

    \b
    Examples:
      origcli import realistic.safetensors --out models/realistic
      origcli import sd15 --lora style.safetensors@0.8 --out models/style
      origcli import anime.safetensors --vae vae.safetensors --dtype fp16 --out models/anime
      origcli score photo.jpg --model models/realistic
    """
    from origcli.models.importing.build import Request, build

    request = Request(model, out, tuple(lora or ()), vae, model_config, weights_dtype, prediction, run.force)
    source = build(request, run.settings.runtime, run.progress)
    shown = SHOWN if run.form is options.Format.table else COLUMNS
    drop = ("tensors_changed", "configuration", "kind")
    present.rows([_row(source, out)], shown, run.form, whole=source, drop=drop)


def _row(source: dict[str, Any], out: Path) -> dict[str, Any]:
    base, vae = source["base"], source["vae"]
    return {
        "out": str(out),
        "kind": base.get("kind") or base.get("model"),
        "configuration": base.get("configuration"),
        "loras": len(source["loras"]),
        "tensors_changed": sum(lora["tensors_changed"] for lora in source["loras"]),
        "vae": None if vae is None else vae.get("file", "replaced"),
        "dtype": source["dtype"],
        "weights_hash": source["weights_hash"],
    }
