"""Directories of others: a model with one of its files changed, and a score run that is to be joined."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.models.pipeline import load_pipeline
from origcli.runtime.atomic import write_json
from origcli.runtime.context import Runtime
from origcli.runtime.plan import PLAN_NAME
from origcli.runtime.run_record import run_record
from origcli.scoring.run_archive import IMAGES, PROVENANCE, RESULTS, read_saved
from origcli.weights.registry import resolve
from tests.fuzz.reading import damaged, folder, json_bytes, share, survives
from tests.reports import samples


@share(0.08)
@given(st.data())
def test_any_model_is_answered(tiny_bert_pipeline_dir: Path, data: st.DataObject) -> None:
    """Its descriptions with other values, and any file, weights and vocabulary too, as damaged bytes."""
    files = sorted(path for path in tiny_bert_pipeline_dir.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    name, whole = path.relative_to(tiny_bert_pipeline_dir), path.read_bytes()
    ways = [damaged(whole)]
    if path.suffix == ".json":
        ways.append(json_bytes(json.loads(whole)))
    if path.suffix == ".safetensors":  # its head says where each tensor lies
        size = int.from_bytes(whole[:8], "little")
        heads = st.one_of(damaged(whole[8 : 8 + size]), json_bytes(json.loads(whole[8 : 8 + size])))
        ways.append(heads.map(lambda head: len(head).to_bytes(8, "little") + head + whole[8 + size :]))
    changed = data.draw(st.one_of(ways))
    with folder() as here:
        shutil.copytree(tiny_bert_pipeline_dir, here / "model")
        (here / "model" / name).write_bytes(changed)
        survives(lambda: resolve(str(here / "model"), Runtime(offline=True)))
        survives(lambda: load_pipeline(here / "model", Runtime()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of a score run, but for its pictures."""
    result = samples.result(None)
    return {
        IMAGES: [[0, result.id, "pictures/photo.jpg", "group"]],
        PROVENANCE: samples.provenance().to_json(),
        PLAN_NAME: {"list": "0", "parts": {"of": 3, "held": [1]}},
        RESULTS: result.to_json(),
    }


@share(0.25)
@given(st.data())
def test_any_run_is_answered(run: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(run)))
    text = json.dumps(run[name]).encode()
    changed = data.draw(st.one_of(json_bytes(run[name]), damaged(text)))
    with folder() as here:
        write_json(here / "run.json", run_record(1.0))
        for file in (IMAGES, PROVENANCE, PLAN_NAME):
            write_json(here / file, run[file])
        (here / RESULTS).write_text(json.dumps(run[RESULTS]) + "\n")
        (here / name).write_bytes(changed + b"\n" if name == RESULTS else changed)
        survives(lambda: list(read_saved(here).results))
