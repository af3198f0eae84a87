"""The published JSON Schemas are those of the models, and reports of every command fit them."""

import json
from typing import Any

import jsonschema
import pytest

from origcli.errors import UsageError
from origcli.reports import published, schema, studies
from origcli.reports.compare import ComparedScore, DistancePoint, PairedDifference
from origcli.reports.schema import SCHEMAS, Estimate, LossPoint, Status
from tests.reports import samples

ESTIMATE = Estimate.of(0.5, 0.4, 0.6)


def _results() -> dict[str, Any]:
    facts = samples.image_facts("a.png")
    trained = schema.TrainResult(
        stage="vae", directory="vae", dataset_hash="d", weights_hash="w", parameters=10, steps=2, samples=4,
        epochs=0.5, metrics={"psnr": ESTIMATE}, history=(LossPoint(step=0, values={"loss": 1.0}),),
        confusion=schema.ConfusionMatrix(classes=("a", "background"), counts=((1, 0), (0, 1))),
    )  # fmt: skip
    return {
        "score": samples.result(None),
        "invert": schema.InvertResult(
            id="a", image=facts, l_det_0=ESTIMATE,
            tokens=(
                schema.InvertedTokens(
                    m=1, placeholder="<origcli-a-m1>", file="a-m1.safetensors", steps=3, stop_reason="budget",
                    l_det=ESTIMATE, history=(LossPoint(step=0, values={"l_det": 0.1}),),
                ),
            ),
        ),
        "synth": schema.SynthResult(directory="data", hash="h", count=2, resolution=64, recipe={"seed": 0}),
        "detect": schema.DetectResult(
            id="a", image=facts, counts={"big red full circle": 1}, f1=ESTIMATE,
            detections=(
                schema.DetectedElement(element="big red full circle", confidence=0.95, box=(1, 2, 3, 4)),
            ),
        ),
        "train-vae": trained,
        "train-unet": trained,
        "train-transformer": trained,
        "train-detector": trained,
        "compare": schema.CompareResult(
            id="a", image=facts,
            scores=(
                ComparedScore(
                    run="m", id="a", verdict=schema.VerdictKind.redrawn, originality=ESTIMATE,
                    tokens_needed=schema.TokensNeeded(kind="reached", m=1), threshold=0.2,
                    curve=(DistancePoint(m=1, distance=ESTIMATE),),
                ),
            ),
            differences=(
                PairedDifference(run="n", base="m", originality=ESTIMATE, distances=(), clear=True, words=""),
            ),
        ),
        "calibrate": schema.CalibrateResult(
            model="shapes", metric="elements", metric_version="1", threshold=ESTIMATE, threshold_how="how",
            ceiling=ESTIMATE, ceiling_images=64, psnr_limit=ESTIMATE, psnr_images=100,
            draw_settings={"steps": 20},
        ),
        "generalize": schema.GeneralizeResult(
            experiment="e", hash="h", level=4, held_out="big red full circle",
            spanning=("big red full square",), condition="empty", prompt="", images=8, detections=9,
            held_out_detections=1, frequency=ESTIMATE,
            lift=ESTIMATE, confidence=Estimate.missing("none found"),
        ),
        "rarity": studies.RarityResult(
            category="rare", images=12, originality=ESTIMATE, tokens_needed={"1": 3, "> 5": 9},
            dataset_hash="d", curve=(schema.GroupPoint(m=1, distance=ESTIMATE, l_det=ESTIMATE),),
        ),
        "fixed-location": studies.FixedLocationResult(
            id="a", caption="big red full circle", drawings=4, elements=4, matched=3, distance=ESTIMATE,
            chance=ESTIMATE,
        ),
        "popularity": studies.PopularityResult(group="fresh", images=15, distance=ESTIMATE),
    }  # fmt: skip


def example(name: str) -> Any:
    """A report of a command."""
    kind: Any = SCHEMAS[name]
    return kind(status=Status.complete, provenance=samples.provenance(), results=(_results()[name],))


def test_the_published_files_are_up_to_date() -> None:
    assert published.stale() == [], "run python -m origcli.reports.published --update"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_report_fits_its_published_schema_and_comes_back(name: str) -> None:
    rules = json.loads((published.DIRECTORY / f"{name}.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(rules)
    report = example(name)
    value = json.loads(json.dumps(report.to_json(), allow_nan=False))
    jsonschema.validate(value, rules)
    assert SCHEMAS[name].model_validate(value) == report
    assert value["schema"] == f"origcli/{name}/1"
    assert {"schema", "status", "provenance", "results", "errors"} <= value.keys()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "surprise": 1}, rules)


def test_the_fields_that_scripts_rely_on_keep_their_names() -> None:
    names = set(schema.json_schema("score")["$defs"]["ScoreResult"]["properties"])
    assert names == {
        *("id", "image", "group", "domain", "verdict", "originality", "tokens_needed", "threshold", "curve"),
        *("distance_0", "distances_0", "l_det_0", "floor", "ceiling", "domain_check", "in_distribution"),
        *("percentile", "landmarks", "pictures", "page", "embeddings", "intervals"),
    }


def test_an_unknown_report_is_named() -> None:
    with pytest.raises(UsageError, match="'nosuch'"):
        schema.json_schema("nosuch")


def test_tokens_needed_in_words() -> None:
    texts = [
        schema.TokensNeeded(kind="reached", m=2, maximum=5).text,
        schema.TokensNeeded(kind="not-reached", maximum=5).text,
        schema.TokensNeeded(kind="undecided", m=3, maximum=5).text,
        schema.TokensNeeded(kind="no-threshold", maximum=5).text,
    ]
    assert texts == ["2", "> 5", "undecided", ""]
