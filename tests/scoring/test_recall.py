"""A run whose images were all measured before opens no model, and is the same run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from origcli.errors import StorageError, UsageError
from origcli.images.inputs import find_inputs
from origcli.perception.metrics import Metric, register
from origcli.runtime.context import Runtime
from origcli.scoring import recall, run
from origcli.scoring.gate import parse_gate
from origcli.scoring.recall import find_recall
from origcli.settings import Settings, resolve
from origcli.weights import registry
from tests.scoring.runs import bytes_of, count_calls, score
from tests.scoring.test_on_cluster import SMALL, queries

__all__ = ["queries"]


def _settings(**sections: dict[str, Any]) -> Settings:
    tree = {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in {*SMALL, *sections}}
    return resolve(tree, environment={})[0]


def _files(out: Path) -> dict[str, bytes]:
    kept = {
        str(path.relative_to(out)): path.read_bytes()
        for folder in ("pictures", "embeddings")
        for path in sorted((out / folder).rglob("*"))
        if path.is_file()
    }
    return kept | bytes_of(out)


def _refuse(*_: Any) -> Any:
    raise AssertionError("a model was opened")


def test_a_run_that_is_kept_is_repeated_without_a_model_and_one_more_image_with_it(
    tmp_path: Path, queries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, cache = _settings(), tmp_path / "cache"
    inputs = find_inputs(queries[:2])
    score(settings, tmp_path / "first", inputs, cache=cache)
    with monkeypatch.context() as patch:
        patch.setattr(run, "open_models", _refuse)
        heard: list[Any] = []
        score(settings, tmp_path / "second", inputs, heard.append, cache=cache)
        assert [one.id for one in heard] == ["0", "1"]
        assert _files(tmp_path / "second") == _files(tmp_path / "first")
        with pytest.raises(UsageError, match="can never hold: no threshold"):  # as it would with the model
            gates = [parse_gate("verdict=redrawn")]
            score(settings, tmp_path / "third", inputs, cache=cache, gates=gates)

    measured = count_calls(monkeypatch, run, "open_models")
    more = find_inputs([queries[3], *queries[:2]])
    score(settings, tmp_path / "more", more, cache=cache)
    score(settings, tmp_path / "afresh", more)
    assert len(measured) == 2 and _files(tmp_path / "more") == _files(tmp_path / "afresh")


@pytest.fixture
def shapes() -> registry.ModelEntry:
    return registry.resolve("shapes", Runtime())


def _key(entry: registry.ModelEntry, settings: Settings, runtime: Runtime, given: Any = None) -> str:
    found = find_recall(Path("nowhere"), entry, given, settings, runtime)
    assert found is not None
    return found.key


def test_what_changes_a_result_changes_its_key(
    shapes: registry.ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, runtime = _settings(), Runtime()
    before = _key(shapes, settings, runtime)
    assert before == _key(shapes, _settings(runtime={"threads": 7}), runtime), "threads are of the machine"
    values = shapes.values.model_copy(update={"psnr_limit": 1.0})
    keys = [
        _key(replace(shapes, values=values), settings, runtime),
        _key(replace(shapes, weights_hash="0" * 64), settings, runtime),
        _key(replace(shapes, note="another"), settings, runtime),
        _key(replace(shapes, detector=shapes.path / "vae"), settings, runtime),
        _key(shapes, _settings(runtime={"seed": 5}), runtime),
        _key(shapes, _settings(draw={"steps": 3}), runtime),
        _key(shapes, _settings(score={"calibrate": False}), runtime),
        _key(shapes, settings, Runtime(dtype=torch.bfloat16)),
        _key(shapes, settings, runtime, {1: {"text_encoder": torch.zeros(1, 4)}}),
    ]
    monkeypatch.setattr(recall, "_own_code", lambda: "another version of the code")
    keys.append(_key(shapes, settings, runtime))
    assert len({before, *keys}) == 1 + len(keys)


def test_nothing_is_recalled_without_a_cache_or_with_a_metric_of_a_program(
    shapes: registry.ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from origcli.perception import metrics

    assert find_recall(None, shapes, None, _settings(), Runtime()) is None
    monkeypatch.setattr(metrics, "_registered", dict(metrics._registered))
    register(Metric("own", open=lambda opening: _refuse()))
    assert find_recall(Path("nowhere"), shapes, None, _settings(score={"metric": "own"}), Runtime()) is None


def test_a_result_that_is_removed_meanwhile_is_told(tmp_path: Path, shapes: registry.ModelEntry) -> None:
    from origcli.scoring.batches import make_batches

    (tmp_path / "a.png").write_bytes(b"content")
    (batch,) = make_batches(find_inputs([str(tmp_path / "a.png")]), 1, "photo")
    found = find_recall(tmp_path / "cache", shapes, None, _settings(), Runtime())
    assert found is not None and not found.holds(batch)
    with pytest.raises(StorageError, match=r"a\.png was removed from the cache") as caught:
        list(found.read(batch, tmp_path))
    assert "--resume" in caught.value.hint
