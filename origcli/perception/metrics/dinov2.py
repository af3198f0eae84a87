"""`dinov2`: 1 − cosine of DINOv2's class embeddings (Oquab et al. 2023), those of its ViT-B/14."""

from origcli.perception.distance import Distance
from origcli.perception.metrics import Metric, Opening, register
from origcli.perception.metrics.clip import NEEDED as CLIP
from origcli.weights.fetchable import HubFetchable
from origcli.weights.pipelines import PartFiles
from origcli.weights.repository import HubModel

MODEL = HubModel(
    "facebook/dinov2-base",
    "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    name="dinov2",
    files=PartFiles("", ("config.json", "preprocessor_config.json"), weights="model"),
)
NEEDED = HubFetchable("dinov2", MODEL, "DINOv2 ViT-B/14, for the metric dinov2")


def _open(opening: Opening) -> Distance:
    from transformers import BitImageProcessorPil, Dinov2Model

    from origcli.perception.embedding import open_hub_distance

    return open_hub_distance(
        MODEL, Dinov2Model, BitImageProcessorPil, lambda output: output.pooler_output, opening.runtime
    )


register(Metric(name="dinov2", open=_open, variants={"": (NEEDED,)}, helpful=(CLIP,)))
