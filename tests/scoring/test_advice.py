"""What is said about images that were not measured: in words for laymen, with the next step and its time."""

import pytest

from origcli.inversion.cost import count_flops, decoding_flops
from origcli.reports.schema import ModelFacts
from origcli.runtime.context import Runtime
from origcli.scoring import advice
from origcli.settings import resolve
from tests.reports.samples import provenance
from tests.stable_diffusion import stable_diffusion_without_weights

SETTINGS = resolve({}, environment={})[0]


@pytest.mark.fault(50, "one sentence for laymen, which model can, how to get it, and how long it takes here")
def test_a_photo_on_the_demo_model_leads_to_a_model_of_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "measured_rate", lambda runtime: advice.photo_flops(SETTINGS) / (3 * 3600))
    reason, remedy = advice.why_unmeasured(provenance(), ["my photo.jpg"], SETTINGS, Runtime())
    assert reason == "the demo model 'shapes' knows colored shapes only"
    assert "origcli score 'my photo.jpg' --model sd15" in remedy and "origcli fetch sd15" in remedy
    assert "on this machine (cpu) that takes about 3 hours" in remedy
    _, of_eight = advice.why_unmeasured(provenance(), ["a.jpg"] * 8, SETTINGS, Runtime())
    assert "about 24 hours" in of_eight
    for text in (reason, remedy):
        assert not any(word in text for word in ("floor", "ceiling", "PSNR", "dB"))


def test_a_model_of_photos_is_not_called_a_demo() -> None:
    made_by = provenance(model=ModelFacts(name="sd15"), metric=ModelFacts(name="dreamsim"))
    reason, remedy = advice.why_unmeasured(made_by, ["a.jpg"], SETTINGS, Runtime())
    assert "sd15" in reason and "shapes" not in reason and "--measure-anyway" in remedy


def test_operations_of_stable_diffusion_are_those_of_its_architecture() -> None:
    model = stable_diffusion_without_weights()
    assert count_flops(model) == advice.SD15
    assert decoding_flops(model) == advice.SD15_DECODING


def test_the_work_grows_with_what_is_asked_for() -> None:
    longer = resolve({"invert": {"steps": 500}}, environment={})[0]
    fewer = resolve({"score": {"max_tokens": 1}}, environment={})[0]
    assert advice.photo_flops(fewer) < advice.photo_flops(SETTINGS) < advice.photo_flops(longer)
    assert 1e16 < advice.photo_flops(SETTINGS) < 4e16


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "1 minute"), (150, "2 minutes"), (5400, "2 hours"), (86400, "24 hours"), (3 * 86400, "3 days")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert advice.in_words(seconds) == words
