from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import UsageError
from origcli.images.inputs import Input
from origcli.scoring.batches import domain_of, make_batches, parts_of, take_parts, templates_for

GROUPS = st.lists(st.sampled_from(["", "art", "art/common", "houses/common"]), max_size=30)


def inputs(groups: Any) -> Any:
    return [Input(Path(f"{i}.png"), str(i), group) for i, group in enumerate(groups)]


@given(GROUPS, st.integers(1, 5))
def test_batches_hold_every_image_once_in_order(groups: Any, size: Any) -> None:
    images = inputs(groups)
    batches = make_batches(images, size, "auto")
    assert [one for batch in batches for one in batch.inputs] == images
    assert [batch.number for batch in batches] == list(range(len(batches)))
    for batch in batches:
        assert 1 <= len(batch.inputs) <= size
        assert {templates_for(one.group, "auto") for one in batch.inputs} == {batch.templates}


@given(GROUPS, st.integers(1, 4), st.integers(1, 5))
def test_shards_share_the_batches_out(groups: Any, size: Any, count: Any) -> None:
    batches = make_batches(inputs(groups), size, "auto")
    shards = [take_parts(batches, parts_of(f"{i}/{count}")) for i in range(1, count + 1)]
    assert sorted((b for shard in shards for b in shard), key=lambda b: b.number) == batches
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert take_parts(batches, None) == batches


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3", "1.0/2", "²/3"])
def test_other_shards_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="i/N"):
        parts_of(text)


def test_domains_and_templates() -> None:
    assert [domain_of(group) for group in ("", "common", "art/common", "a/b/common")] == [
        None,
        None,
        "art",
        "a/b",
    ]
    assert templates_for("art/original", "auto") == "art"
    assert templates_for("Art/Original", "auto") == "art"
    assert templates_for("cart/original", "auto") == "object"
    assert templates_for("art/original", "object") == "object"  # asked for
    assert templates_for("art/original", "my.txt") == "my.txt"
