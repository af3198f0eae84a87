"""A row that counts for many is that many rows."""

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from origcli.models.joint_attention import ABSENT_ROWS, CountedAttention

ROWS = 5  # of a text, the row of zeros included


def transformer(normalized: str | None) -> SD3Transformer2DModel:
    torch.manual_seed(0)
    model = SD3Transformer2DModel(
        sample_size=4,
        patch_size=1,
        in_channels=2,
        out_channels=2,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=6,
        caption_projection_dim=16,
        pooled_projection_dim=6,
        pos_embed_max_size=4,
        qk_norm=normalized,
        dual_attention_layers=(1,),
    )
    with torch.no_grad():  # a new model's gates are random, but its biases are zero
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def inputs(rows_of_zeros: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(1)
    text = torch.randn(2, ROWS - 1, 6, generator=source)
    return {
        "hidden_states": torch.randn(2, 2, 4, 4, generator=source),
        "pooled_projections": torch.randn(2, 6, generator=source),
        "timestep": torch.tensor([100.0, 700.0]),
        "encoder_hidden_states": torch.cat([text, torch.zeros(2, rows_of_zeros, 6)], 1),
    }


@pytest.mark.parametrize("normalized", [None, "rms_norm"])
def test_one_row_of_zeros_is_all_of_them(normalized: str | None) -> None:
    model = transformer(normalized)
    with torch.no_grad():
        whole = model(**inputs(ABSENT_ROWS)).sample
        once = model(**inputs(1)).sample
        model.set_attn_processor(CountedAttention(ROWS))
        counted = model(**inputs(1)).sample
    torch.testing.assert_close(counted, whole, rtol=1e-4, atol=1e-5)
    assert (once - whole).abs().max() > 1e-2  # and it matters how often they count


def test_the_gradient_is_that_of_all_rows() -> None:
    model = transformer(None)
    found = []
    for rows, processor in ((ABSENT_ROWS, None), (1, CountedAttention(ROWS))):
        if processor is not None:
            model.set_attn_processor(processor)
        model.zero_grad()
        given = inputs(rows)
        given["encoder_hidden_states"].requires_grad_()
        model(**given).sample.square().mean().backward()
        text = given["encoder_hidden_states"].grad
        assert text is not None
        found.append([text[:, : ROWS - 1], *(parameter.grad for parameter in model.parameters())])
    for whole, counted in zip(*found, strict=True):
        torch.testing.assert_close(counted, whole, rtol=1e-3, atol=1e-6)


def test_texts_of_another_length_are_read_as_ever() -> None:
    model, given = transformer("rms_norm"), inputs(7)
    with torch.no_grad():
        plain = model(**given).sample
        model.set_attn_processor(CountedAttention(ROWS))
        torch.testing.assert_close(model(**given).sample, plain, rtol=1e-5, atol=1e-6)
