"""Joint attention of Stable Diffusion 3 that counts a row of the text many times, and computes it once.

A pipeline without T5 puts 256 rows of zeros in the place of T5's states. They carry no position, so all of
them stay equal in every layer: their keys and values are one key and one value, 256 times. A softmax over
n equal logits gives them the weight of one logit that is log n higher.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ABSENT_ROWS = 256  # rows that diffusers' pipeline gives to a T5 that is not there


class CountedAttention:
    """Diffusers' JointAttnProcessor2_0, in which the last row of a text counts for several.

    It does so for texts of one length, and is the plain one for all others.

    Args:
        length: rows of such a text, the last one included.
        times: for how many rows the last one counts.
    """

    def __init__(self, length: int, times: int = ABSENT_ROWS) -> None:
        self.length, self.bias = length, math.log(times)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Any:
        """Attention among places (n, p, d) and, where there is a text, its rows (n, L, d)."""
        query, key, value = _heads(attn, hidden_states, attn.to_q, attn.to_k, attn.to_v)  # (n, heads, p, e)
        query, key = _normed(attn.norm_q, query), _normed(attn.norm_k, key)
        bias = None
        if encoder_hidden_states is not None:
            own = _heads(attn, encoder_hidden_states, attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            query = torch.cat([query, _normed(attn.norm_added_q, own[0])], 2)  # (n, heads, p + L, e)
            key = torch.cat([key, _normed(attn.norm_added_k, own[1])], 2)
            value = torch.cat([value, own[2]], 2)
            if encoder_hidden_states.shape[1] == self.length:
                bias = query.new_zeros(1, 1, 1, key.shape[2])
                bias[..., -1] = self.bias

        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).flatten(2).to(query.dtype)  # (n, p + L, d)
        places = mixed[:, : hidden_states.shape[1]]
        places = attn.to_out[1](attn.to_out[0](places))
        if encoder_hidden_states is None:
            return places
        text = mixed[:, hidden_states.shape[1] :]
        return places, text if attn.context_pre_only else attn.to_add_out(text)


def _heads(attn: Any, states: Tensor, *projections: Any) -> list[Tensor]:
    """Projections (n, heads, L, e) of states (n, L, d)."""
    return [project(states).unflatten(2, (attn.heads, -1)).transpose(1, 2) for project in projections]


def _normed(norm: Any, states: Tensor) -> Tensor:
    return states if norm is None else norm(states)
