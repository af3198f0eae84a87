from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from origcli.scoring import store
from origcli.scoring.store import Entry, Store, content_key, preview


def test_an_entry_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = Store(tmp_path / "new")
    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    entry = Entry({"x": [0.1, 1e-17], "y": None}, {"v": np.eye(3, dtype=np.float32)}, [preview(small)] * 12)
    key = content_key("test", a=1, b=[2, 3])
    assert kept.get(key) is None
    kept.put(key, entry)
    found = kept.get(key)
    assert found is not None
    assert found.facts == entry.facts and found.pictures == entry.pictures
    assert (found.arrays["v"] == np.eye(3)).all()
    assert found.images[11].tobytes() == small.tobytes()  # small pictures are kept exactly


def test_entries_of_one_batch_are_kept_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {content_key("test", a=i): Entry({"x": i}, {"v": np.full(3, i)}) for i in range(3)}
    real = store._write
    for before, kept in ((0, 0), (1, 3), (3, 3)):  # the first write is the file that holds them all
        root, left = tmp_path / str(before), [before]

        def write(path: Path, data: Any, left: Any = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            real(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(store, "_write", write)
            with pytest.raises(KeyboardInterrupt):
                Store(root).put_all(entries)
        found = [Store(root).get(key) for key in entries]
        assert [one.facts["x"] for one in found if one] == list(range(3))[:kept]
        assert not list(root.glob("*.safetensors"))


def test_what_is_pending_and_no_entry_is_dropped(tmp_path: Path) -> None:
    root = tmp_path / "a/b/store"
    root.mkdir(parents=True)
    (root / "pending-0.safetensors").write_bytes(b"torn")
    (root / "pending-1.safetensors").write_bytes(save({"../../../elsewhere": np.zeros(3, np.uint8)}))
    assert Store(root).get(content_key("test")) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_large_pictures_are_kept_to_look_at() -> None:
    large = Image.new("RGB", (512, 512), "red")
    assert Entry({}, {}, [preview(large)]).images[0].size == (256, 256)


def test_keys_differ_with_kind_and_every_part() -> None:
    keys = {content_key(kind, a=a, b=b) for kind in ("x", "y") for a in (1, 2, "1") for b in ([1, 2], [2, 1])}
    assert len(keys) == 12
    assert content_key("x", a=1, b=2) == content_key("x", b=2, a=1)


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b"", lambda data: b"x" * 300])
def test_a_torn_entry_counts_as_absent(tmp_path: Path, damage: Any) -> None:
    kept = Store(tmp_path)
    key = content_key("test")
    kept.put(key, Entry({"x": 1}, {"v": np.zeros(100)}))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    assert kept.get(key) is None
    kept.put(key, Entry({"x": 2}))
    found = kept.get(key)
    assert found is not None and found.facts == {"x": 2}


@pytest.mark.fault(63, "an entry with a flipped bit, or another's, counts as absent")
def test_every_bit_of_an_entry_counts(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    key, other = content_key("test"), content_key("other")
    kept.put(key, Entry({"x": 0.55}, {"v": np.arange(8.0)}, [b"a picture"]))
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    for place in range(8, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = kept.get(key)
        # Spaces that pad the header are all that may change.
        assert found is None or (found.facts["x"], found.pictures) == (0.55, [b"a picture"]), place
        assert found is None or (found.arrays["v"] == np.arange(8.0)).all(), place
    moved = kept._path(other)
    moved.parent.mkdir()
    moved.write_bytes(whole)
    path.write_bytes(whole)
    assert kept.get(other) is None and kept.get(key) is not None
