"""Tiny pipelines with fixed random weights, for tests: 64 px pictures, 8×8 latents of 4 channels.

They draw nothing sensible; they have the shape of the real thing, are built offline, and load with
`DiffusionPipeline.from_pretrained`. `bert` predicts v, as the bundled model does; `clip` predicts ε,
as Stable Diffusion 1.5 does.
"""

import string
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import BertConfig, BertModel, BertTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from origcli.models.pipeline import save_pipeline

RESOLUTION = 64
LATENT_SHAPE = (4, 8, 8)
EMBEDDING_WIDTH = 16
MAX_LENGTH = 24

WORDS = """
a an the of and my one in with photo picture cat dog empty
big small red green blue full circle square triangle hexagon star
rendering cropped clean dirty dark cool close up bright good rendition nice weird large
"""


def bert_tokenizer() -> Any:
    """WordPiece over `WORDS`, single letters and digits, so that no word is unknown."""
    characters = [*string.ascii_lowercase, *string.digits, *"-_<>.,'"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    vocabulary = list(dict.fromkeys([*pieces, *WORDS.split()]))
    return BertTokenizer(
        vocab={piece: index for index, piece in enumerate(vocabulary)}, model_max_length=MAX_LENGTH
    )


def clip_tokenizer() -> Any:
    """Byte-pair encoding whose merges build `WORDS` from letters."""
    letters = [*string.ascii_lowercase, *string.digits, *"-_<>.,'"]
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS.split():
        symbols = [*word[:-1], f"{word[-1]}</w>"]
        while len(symbols) > 1:
            merges[symbols[0], symbols[1]] = None
            symbols[:2] = ["".join(symbols[:2])]
    pieces = [*letters, *(f"{c}</w>" for c in letters), *("".join(pair) for pair in merges)]
    vocabulary = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={piece: index for index, piece in enumerate(vocabulary)},
        merges=list(merges),
        model_max_length=MAX_LENGTH,
    )


def _bert(vocabulary_size: int) -> Any:
    return BertModel(
        BertConfig(
            vocab_size=vocabulary_size,
            hidden_size=EMBEDDING_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=MAX_LENGTH,
            use_attention_mask=True,  # as the bundled model's
        )
    )


def _clip(tokenizer: Any) -> Any:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=EMBEDDING_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=MAX_LENGTH,
            projection_dim=EMBEDDING_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def write_tiny_pipeline(directory: Path, kind: str, seed: int = 0) -> Path:
    """Writes a pipeline directory. `kind` is `bert` or `clip`; equal seeds give equal bytes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = bert_tokenizer() if kind == "bert" else clip_tokenizer()
        text_encoder = _bert(len(tokenizer)) if kind == "bert" else _clip(tokenizer)
        vae = AutoencoderKL(
            sample_size=RESOLUTION,
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=LATENT_SHAPE[0],
            norm_num_groups=4,
            scaling_factor=0.5,
        )
        unet = UNet2DConditionModel(
            sample_size=LATENT_SHAPE[1],
            in_channels=LATENT_SHAPE[0],
            out_channels=LATENT_SHAPE[0],
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            attention_head_dim=2,
            norm_num_groups=4,
            cross_attention_dim=EMBEDDING_WIDTH,
        )
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction" if kind == "bert" else "epsilon",
    )
    save_pipeline(
        directory, vae=vae, unet=unet, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler
    )
    return directory
