"""Tiny pipelines of every supported family, of the real classes, with random weights and 64 px pictures."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from origcli.models.loading import quiet_loading
from origcli.models.pipeline import forget_origin
from origcli.weights.registry import RegistryValues, write_registry
from tests.tiny_models import WORDS, clip_tokenizer

RESOLUTION = 64
_LETTERS = [*string.ascii_lowercase, *string.digits, *"-_<>.,'|/:"]


def t5_tokenizer() -> Any:
    """Unigrams: every word of `WORDS`, and letters for all others."""
    words = [f"▁{word}" for word in dict.fromkeys(WORDS.split())]
    pieces = ["<pad>", "</s>", "<unk>", "▁", *words, *_LETTERS]
    return transformers.T5TokenizerFast(
        vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0, model_max_length=512
    )


def _bpe(pieces: list[str], space: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary and merges that make each word of `WORDS`, with the space before it, one token."""
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS.split():
        for start in (space + word[0], word[0]):
            symbols = [start, *word[1:]] if len(start) == 1 else [space, *word]
            while len(symbols) > 1:
                merges[symbols[0], symbols[1]] = None
                symbols[:2] = ["".join(symbols[:2])]
    merged = ["".join(pair) for pair in merges]
    vocabulary = list(dict.fromkeys([*pieces, space, *_LETTERS, *string.ascii_uppercase, *merged]))
    return {piece: i for i, piece in enumerate(vocabulary)}, list(merges)


def gemma_tokenizer() -> Any:
    vocab, merges = _bpe(["<pad>", "<eos>", "<bos>", "<unk>"], "▁")
    return transformers.GemmaTokenizer(vocab=vocab, merges=merges, model_max_length=300)


_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)


def qwen_tokenizer() -> Any:
    byte_level = [*(chr(i) for i in range(33, 127)), "Ċ"]
    vocab, merges = _bpe(byte_level, "Ġ")
    vocab |= {name: len(vocab) + i for i, name in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))}
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocab, merges=merges, model_max_length=1024)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = _CHAT
    return tokenizer


def _clip(tokenizer: Any, width: int, projected: bool, eos: int | None = None) -> Any:
    """`eos` 2 is what the first CLIPs' configurations say; it decides where the pooled vector is taken."""
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id if eos is None else eos,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _t5(tokenizer: Any) -> Any:
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            dropout_rate=0.0,
        )
    )


def _vae(channels: int, scaling: float, shift: float | None = None, **more: Any) -> Any:
    return diffusers.AutoencoderKL(
        sample_size=RESOLUTION,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        scaling_factor=scaling,
        shift_factor=shift,
        **more,
    )


def sdxl(prediction: str = "epsilon") -> Any:
    tokenizer = clip_tokenizer()
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(4, 0.13025),
        text_encoder=_clip(tokenizer, 16, projected=False, eos=2),
        text_encoder_2=_clip(tokenizer, 24, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        unet=diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            attention_head_dim=(2, 4),
            norm_num_groups=4,
            cross_attention_dim=40,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            prediction_type=prediction,
            rescale_betas_zero_snr=prediction == "v_prediction",
            timestep_spacing="trailing" if prediction == "v_prediction" else "leading",
        ),
    )


def sdxl_v() -> Any:
    return sdxl("v_prediction")


def sd3(with_t5: bool = True) -> Any:
    tokenizer, third = clip_tokenizer(), t5_tokenizer()
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=8,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            caption_projection_dim=32,
            pooled_projection_dim=16 + 12,
            out_channels=8,
            pos_embed_max_size=16,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(8, 1.5305, 0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip(tokenizer, 16, projected=True, eos=2),
        tokenizer=tokenizer,
        text_encoder_2=_clip(tokenizer, 12, projected=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=_t5(third) if with_t5 else None,
        tokenizer_3=third if with_t5 else None,
    )


def sd3_without_t5() -> Any:
    return sd3(with_t5=False)


def flux() -> Any:
    tokenizer, second = clip_tokenizer(), t5_tokenizer()
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, shift=3.0
        ),
        vae=_vae(4, 0.3611, 0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip(tokenizer, 16, projected=False, eos=2),
        tokenizer=tokenizer,
        text_encoder_2=_t5(second),
        tokenizer_2=second,
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(4, 4, 8),
        ),
    )


def _pixart(kind: Any, embeddings: bool) -> Any:
    tokenizer = t5_tokenizer()
    return kind(
        tokenizer=tokenizer,
        text_encoder=_t5(tokenizer),
        vae=_vae(4, 0.18215),
        transformer=diffusers.PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            cross_attention_dim=16,
            caption_channels=32,
            sample_size=8,
            use_additional_conditions=embeddings,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )


def pixart_alpha() -> Any:
    return _pixart(diffusers.PixArtAlphaPipeline, False)


def pixart_sigma() -> Any:
    return _pixart(diffusers.PixArtSigmaPipeline, False)


def sana() -> Any:
    tokenizer = gemma_tokenizer()
    blocks = {"encoder_block_types": "ResBlock", "decoder_block_types": "ResBlock"}
    return diffusers.SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.Gemma2Model(
            transformers.Gemma2Config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
                attention_dropout=0.0,
            )
        ),
        vae=diffusers.AutoencoderDC(
            in_channels=3,
            latent_channels=8,
            encoder_block_out_channels=(8, 16, 16),
            decoder_block_out_channels=(8, 16, 16),
            encoder_layers_per_block=(1, 1, 1),
            decoder_layers_per_block=(1, 1, 1),
            encoder_qkv_multiscales=((), (), ()),
            decoder_qkv_multiscales=((), (), ()),
            scaling_factor=0.41407,
            **blocks,
        ),
        transformer=diffusers.SanaTransformer2DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=32,
            sample_size=16,
            patch_size=1,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def z_image() -> Any:
    tokenizer = qwen_tokenizer()
    return diffusers.ZImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=_vae(4, 0.3611, 0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=transformers.Qwen3Model(
            transformers.Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
            )
        ),
        tokenizer=tokenizer,
        transformer=diffusers.ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=[4, 4, 8],
            axes_lens=[600, 32, 32],
        ),
    )


def qwen_image() -> Any:
    tokenizer = qwen_tokenizer()
    return diffusers.QwenImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[0.5, 1.5, 2.0, 1.0],
        ),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(
            transformers.Qwen2_5_VLConfig(
                text_config={
                    "vocab_size": len(tokenizer),
                    "hidden_size": 32,
                    "intermediate_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 1,
                    "rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": "default", "type": "default"},
                    "rope_theta": 1000000.0,
                },
                vision_config={
                    "depth": 1,
                    "hidden_size": 32,
                    "intermediate_size": 32,
                    "num_heads": 2,
                    "out_hidden_size": 32,
                },
            )
        ),
        tokenizer=tokenizer,
        transformer=diffusers.QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 4, 8),
        ),
    )


BUILDERS: dict[str, Callable[[], Any]] = {
    "sdxl": sdxl,
    "sdxl_v": sdxl_v,
    "sd3": sd3,
    "sd3_without_t5": sd3_without_t5,
    "flux": flux,
    "pixart_alpha": pixart_alpha,
    "pixart_sigma": pixart_sigma,
    "sana": sana,
    "z_image": z_image,
    "qwen_image": qwen_image,
}


def build(name: str, seed: int = 0) -> Any:
    """A pipeline whose denoiser answers to everything it is given: random weights everywhere, no zeros."""
    with torch.random.fork_rng(), quiet_loading():
        torch.manual_seed(seed)
        pipe = BUILDERS[name]()
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
        denoiser = getattr(pipe, "unet", None) or pipe.transformer
        for parameter in denoiser.parameters():
            if not parameter.any():  # zero-initialized gates and outputs would hide what goes in
                parameter.normal_(std=0.05)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def write_tiny_family(directory: Path, name: str, seed: int = 0) -> Path:
    """Writes a pipeline directory as diffusers does; equal seeds give equal bytes."""
    with quiet_loading():
        pipe = build(name, seed)
        pipe.save_pretrained(directory, safe_serialization=True)
    for part in ("vae", "unet", "transformer"):
        if (directory / part).is_dir():
            forget_origin(directory / part)
    if name == "qwen_image":
        write_registry(directory, RegistryValues(resolution=RESOLUTION))
    return directory
