"""A network once and none afterwards: a Stable Diffusion is fetched, and scores a photo with DreamSim.

The model has Stable Diffusion 1.5's blocks at a fraction of the width, DreamSim's branch its true
architecture; both have random weights and come from servers on the loopback.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from origcli.weights.dreamsim_release import RELEASES
from tests.cli.command_line import run_here
from tests.hub_server import COMMIT, Hub, Repository, hub_server, point_to
from tests.perception.releases import archive, write_release
from tests.serving import Files, file_server
from tests.stable_diffusion import lay_out_as_published, write_narrow_pipeline

ID = "someone/narrow-diffusion"
METRIC = "dreamsim:clip_vitb32"
SMALL = {
    "ORIGCLI_INVERT_BATCH_SIZE": "2",
    "ORIGCLI_INVERT_EVALUATE_SAMPLES": "2",
    "ORIGCLI_SCORE_CEILING_SAMPLES": "3",
    "ORIGCLI_SCORE_BOOTSTRAP": "30",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, bytes]:
    """What the two servers publish."""
    root = tmp_path_factory.mktemp("published")
    repository = Repository.of(lay_out_as_published(write_narrow_pipeline(root / "pipeline")))
    release = write_release(root / "release", "clip_vitb32")
    return repository, archive(release, root / "release.zip").read_bytes()


def test_fetched_once_and_scored_without_a_network(
    world: tuple[Repository, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository, release = world
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, value in {"ORIGCLI_CACHE": str(tmp_path / "cache"), **SMALL}.items():
        monkeypatch.setenv(name, value)
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 4), dtype=np.uint8)
    Image.fromarray(photo).save("photo.png")
    # --measure-anyway: random weights can show nothing, so every picture is out of their domain.
    options = (
        "--edit-prompt none --max-tokens 2 --samples 2 --denoising-steps 3 --learning-steps 2 --device cpu"
    )
    score = (
        "score",
        "photo.png",
        "--model",
        ID,
        "--metric",
        METRIC,
        *options.split(),
        "--offline",
        "--measure-anyway",
        "-q",
    )

    status, out, err = run_here(capsys, *score)
    assert status == 4 and f"origcli fetch {ID}" in err and not out

    with hub_server({ID: repository}) as hub, file_server() as files:
        files.content[f"/{RELEASES['clip_vitb32'].archive.name}"] = release
        point_to(monkeypatch, hub.url)
        monkeypatch.setenv("ORIGCLI_MIRROR", files.url)
        fetched_over_a_bad_connection(hub, files, capsys, monkeypatch)

    monkeypatch.setattr("socket.socket.connect", no_network)
    status, out, err = run_here(capsys, "fetch", ID, METRIC, "--offline", "--format", "json")
    assert status == 0 and [row["state"] for row in json.loads(out)] == ["here", "here"]
    status, out, err = run_here(capsys, *score, "--format", "json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    made = report["provenance"]
    assert made["model"]["source"] == f"hub:{ID}@{COMMIT}"
    assert made["metric"]["name"] == METRIC and "clip_vitb32" in made["metric"]["version"]
    (result,) = report["results"]
    assert "alpha on white" in result["image"]["conversions"]
    curve = [point["distance"]["value"] for point in result["curve"]]
    assert len(curve) == 2 and all(0 < distance < 2 for distance in curve)
    assert 0 < result["floor"]["value"] < 2 and result["ceiling"]["value"] > 0

    status, out, err = run_here(capsys, "doctor", "--model", ID, "--json", "--device", "cpu")
    assert status == 4 and "origcli fetch dreamsim" in err  # the ensemble, its default metric, is not here
    assert METRIC in json.loads(out)["fetched"]

    on_cpu = ("--json", "--device", "cpu")
    status, out, err = run_here(capsys, "doctor", "--model", ID, "--metric", METRIC, *on_cpu)
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert status == 0 and not err and json.loads(out)["score_ready"], err
    assert checks["clip"]["state"] == "warning" and "origcli fetch clip" in checks["clip"]["remedy"]


def no_network(*arguments: Any) -> None:
    raise AssertionError("asked the network")


def fetched_over_a_bad_connection(
    hub: Hub, files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("origcli.weights.hub_answers.FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("origcli.weights.downloads.LONGEST_WAIT_S", 0.0)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.only, hub.faults = "unet/diffusion_pytorch_model.safetensors", [("cut", 5000), 429, ("flip", 900)]
    files.faults = [429, ("cut", 2_000_000), 503]  # the first is the question for the size
    status, out, err = run_here(capsys, "fetch", ID, METRIC, "--format", "csv")
    assert status == 0 and out.count("here") == 2 and "trying again" in err
    before = len(files.paths), hub.downloads(".safetensors")
    assert run_here(capsys, "fetch", ID, METRIC, "-q")[0] == 0
    assert (len(files.paths), hub.downloads(".safetensors")) == before  # a second time fetches nothing
