import numpy as np
import pytest
from PIL import Image

from origcli.experiments.store import Entry, Store, content_key, preview


def test_an_entry_comes_back_as_it_was(tmp_path):
    store = Store(tmp_path / "new")
    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    entry = Entry({"x": [0.1, 1e-17], "y": None}, {"v": np.eye(3, dtype=np.float32)}, [preview(small)] * 12)
    key = content_key("test", a=1, b=[2, 3])
    assert store.get(key) is None
    store.put(key, entry)
    found = store.get(key)
    assert found.facts == entry.facts and found.pictures == entry.pictures
    assert (found.arrays["v"] == np.eye(3)).all()
    assert found.images[11].tobytes() == small.tobytes()  # small pictures are kept exactly


def test_large_pictures_are_kept_to_look_at():
    large = Image.new("RGB", (512, 512), "red")
    assert Entry({}, {}, [preview(large)]).images[0].size == (256, 256)


def test_keys_differ_with_kind_and_every_part():
    keys = {content_key(kind, a=a, b=b) for kind in ("x", "y") for a in (1, 2, "1") for b in ([1, 2], [2, 1])}
    assert len(keys) == 12
    assert content_key("x", a=1, b=2) == content_key("x", b=2, a=1)


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b"", lambda data: b"x" * 300])
def test_a_damaged_entry_counts_as_absent(tmp_path, damage):
    store = Store(tmp_path)
    key = content_key("test")
    store.put(key, Entry({"x": 1}, {"v": np.zeros(100)}))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    assert store.get(key) is None
    store.put(key, Entry({"x": 2}))
    assert store.get(key).facts == {"x": 2}
