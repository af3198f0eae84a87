"""Images like those that a model draws: a little deformed, soft, and off in color (supplement 2.1).

What is changed is never what a class is made of: colors keep their names, sizes move by less than a
tenth of the way from small to big, strokes stay open. Every random number is drawn beforehand, one row
an image, so that batches and processes change nothing.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

WARP = 0.016  # largest shift of a point, as a fraction of the width: 1 pixel in 64
BLUR = 0.014  # largest standard deviation of the blur, as a fraction of the width
TINT = 0.12  # largest share of a common, uneven tint
RIPPLE = 0.008  # standard deviation of the shifts that make edges wavy, as a fraction of the width
NOISE = 0.20  # largest standard deviation of the noise in what is drawn, of the range of values
_KNOTS = 5  # a side: the warp bends, but not within an element
_FINE = 16  # knots a side of ripple and noise: a latent of the bundled model is 8 pixels wide


def draw_randoms(generator: torch.Generator, count: int, share: float) -> dict[str, Tensor]:
    """The random numbers of `count` images, of which a share is hardened.

    Returns:
        `mirror` and `hard` (n,), 0 or 1; `blur` and `amount_…` (n,) in [0, 1]; normal knots of fields: `warp`
        and `ripple` (n, 2, k, k) of shifts, `tint` (n, 3, k, k) of colors, `noise` (n, 4, k, k) of light and
        of colors.
    """

    def uniform() -> Tensor:
        return torch.rand(count, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator)

    return {
        "mirror": (uniform() < 0.5).float(),
        "hard": (uniform() < share).float(),
        "blur": uniform(),
        "amount_warp": uniform(),
        "amount_tint": uniform(),
        "amount_noise": uniform(),
        "amount_ripple": uniform(),
        "warp": normal(2, _KNOTS, _KNOTS),
        "ripple": normal(2, _FINE, _FINE),
        "tint": normal(3, 3, 3),
        "noise": normal(4, _FINE, _FINE),
    }


def augment(pixels: Tensor, boxes: Tensor, randoms: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mirrors half of the images and hardens those that are to be.

    Args:
        pixels: (n, 3, h, w) in [0, 1].
        boxes: (n, k, 4) x0, y0, x1, y1 as fractions of the image.
        randoms: of `draw_randoms`.

    Returns:
        Both, changed alike.
    """
    pixels, boxes = mirror(pixels, boxes, randoms["mirror"])
    rows = randoms["hard"].nonzero().view(-1)
    if len(rows):
        hard, hard_boxes = harden(pixels[rows], boxes[rows], {k: v[rows] for k, v in randoms.items()})
        pixels, boxes = pixels.index_copy(0, rows, hard), boxes.index_copy(0, rows, hard_boxes)
    return pixels, boxes


def harden(pixels: Tensor, boxes: Tensor, randoms: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Bends, blurs, tints and stains every image by its own amounts; arguments as in `augment`."""
    shift = WARP / 2 * randoms["amount_warp"][:, None, None, None] * randoms["warp"].clamp(-2, 2)
    ripple = RIPPLE * randoms["amount_ripple"][:, None, None, None] * randoms["ripple"].clamp(-2, 2)
    pixels, boxes = warp(pixels, boxes, shift, ripple)
    pixels = blur(pixels, BLUR * pixels.shape[-1] * randoms["blur"])
    pixels = tint(pixels, TINT / 2 * randoms["amount_tint"], randoms["tint"])
    return add_noise(pixels, NOISE * randoms["amount_noise"], randoms["noise"]), boxes


def mirror(pixels: Tensor, boxes: Tensor, flags: Tensor) -> tuple[Tensor, Tensor]:
    """Left for right where the flag (n,) is set. No shape is another in the mirror."""
    pixels = torch.where(flags[:, None, None, None] > 0, pixels.flip(-1), pixels)
    x0, y0, x1, y1 = boxes.unbind(-1)
    mirrored = torch.stack([1 - x1, y0, 1 - x0, y1], -1)
    return pixels, torch.where(flags[:, None, None] > 0, mirrored, boxes)


def warp(pixels: Tensor, boxes: Tensor, shift: Tensor, ripple: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Bends images: each pixel is taken from a place that a smooth field of shifts leads to.

    Args:
        shift: (n, 2, k, k) knots of the field over the image, x and y, as fractions of it.
        ripple: of a finer field, which no box follows: it shifts as much to one side as to the other.
    """
    n, _, height, width = pixels.shape
    field = F.interpolate(shift, size=(height, width), mode="bicubic", align_corners=True)  # (n, 2, h, w)
    fine = 0 if ripple is None else F.interpolate(ripple, size=(height, width), mode="bicubic")
    still = torch.eye(2, 3, device=pixels.device, dtype=pixels.dtype).expand(n, 2, 3)
    grid = F.affine_grid(still, [n, 3, height, width], align_corners=False) + 2 * (field + fine).permute(
        0, 2, 3, 1
    )
    # White beyond the edge: a padding of zeros is white once the image is inverted.
    pixels = 1 - F.grid_sample(1 - pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return pixels, _warped_boxes(boxes, field)


def _warped_boxes(boxes: Tensor, field: Tensor) -> Tensor:
    """Boxes whose sides go where the field takes their middles."""
    x0, y0, x1, y1 = boxes.unbind(-1)  # each (n, k)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    middles = torch.stack(
        [torch.stack(p, -1) for p in ((x0, y), (x, y0), (x1, y), (x, y1))], 2
    )  # (n, k, 4, 2)
    shifts = F.grid_sample(field, 2 * middles - 1, padding_mode="border", align_corners=False)  # (n, 2, k, 4)
    axis = torch.tensor([0, 1, 0, 1], device=boxes.device)
    along = shifts.permute(0, 2, 3, 1).gather(3, axis.expand(*boxes.shape)[..., None])[..., 0]  # (n, k, 4)
    return (boxes - along).clamp(0, 1)


def blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of standard deviation `sigma` (n,) in pixels, each image by its own."""
    n, channels, height, width = pixels.shape
    radius = max(1, int(3 * BLUR * width))
    x = torch.arange(-radius, radius + 1, device=pixels.device, dtype=pixels.dtype)
    kernel = torch.exp(-0.5 * (x / sigma.clamp(min=1e-3)[:, None]).square())  # (n, 2r + 1)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = F.pad(pixels.reshape(1, n * channels, height, width), (radius,) * 4, mode="replicate")
    planes = F.conv2d(planes, kernel[:, None, None, :], groups=n * channels)
    planes = F.conv2d(planes, kernel[:, None, :, None], groups=n * channels)
    return planes.view(n, channels, height, width)


def tint(pixels: Tensor, amount: Tensor, knots: Tensor) -> Tensor:
    """Shades images unevenly, by an `amount` (n,) of a smooth field with knots (n, 3, k, k)."""
    field = F.interpolate(knots.clamp(-2, 2), size=pixels.shape[2:], mode="bicubic", align_corners=True)
    return (pixels + amount[:, None, None, None] * field).clamp(0, 1)


def add_noise(pixels: Tensor, amount: Tensor, coarse: Tensor) -> Tensor:
    """Blotches where something is drawn, as autoencoders leave.

    Args:
        amount: (n,) of the noise.
        coarse: (n, 4, k, k) knots: of what makes all channels lighter or darker, and of each channel's own.
    """
    knots = 0.8 * coarse[:, :1] + 0.6 * coarse[:, 1:]  # (n, 3, k, k), of variance 1 again
    noise = F.interpolate(knots, size=pixels.shape[2:], mode="bicubic", align_corners=False)
    ink = F.max_pool2d((1 - pixels).amax(1, keepdim=True), 5, stride=1, padding=2)  # (n, 1, h, w)
    return (pixels + amount[:, None, None, None] * ink * noise).clamp(0, 1)
