"""`clip`: 1 − cosine of CLIP's image embeddings (Radford et al. 2021), those of its ViT-L/14."""

from origcli.perception.distance import Distance
from origcli.perception.metrics import Metric, Opening, register
from origcli.weights.fetchable import HubFetchable
from origcli.weights.registry import CLIP

NEEDED = HubFetchable("clip", CLIP, "CLIP ViT-L/14, for the metric clip and the test of editability")


def _open(opening: Opening) -> Distance:
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    from origcli.perception.embedding import open_hub_distance

    return open_hub_distance(
        CLIP,
        CLIPVisionModelWithProjection,
        CLIPImageProcessorPil,
        lambda output: output.image_embeds,
        opening.runtime,
        others=("text_model.", "text_projection.", "logit_scale"),
    )


register(Metric(name="clip", open=_open, variants={"": (NEEDED,)}, helpful=(NEEDED,)))
