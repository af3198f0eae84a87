from typing import Any

import pytest
import torch

from origcli.runtime.seeding import generator
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.scenes.rendering import RGB, render
from origcli.scenes.scene import Placed, Scene, whole_box
from origcli.training import hardening
from origcli.training.hardening import augment, blur, draw_randoms, mirror, tint, warp

RESOLUTION = 64


def picture(*placed: Any) -> Any:
    """Pixels (1, 3, h, w) and boxes (1, k, 4) of elements (index, x, y)."""
    elements = [ALL_ELEMENTS[index] for index, _, _ in placed]
    boxes = [whole_box(e, x, y) for e, (_, x, y) in zip(elements, placed, strict=True)]
    scene = Scene(
        tuple(Placed(e, x, y, b) for e, (_, x, y), b in zip(elements, placed, boxes, strict=True)), "uniform"
    )
    pixels = torch.from_numpy(render(scene, RESOLUTION)).permute(2, 0, 1)[None] / 255
    return pixels, torch.tensor(boxes)[None]


def ink_box(pixels: Any) -> Any:
    """The box of all that is not white, as fractions, from edges weighted by how much they are covered."""
    ink = 1 - pixels[0].amin(0)
    columns, rows = ink.amax(0), ink.amax(1)

    def span(profile: Any) -> Any:
        inked = (profile > 0.05).nonzero().view(-1)
        first, last = int(inked[0]), int(inked[-1])
        return (first + 1 - float(profile[first])) / RESOLUTION, (last + float(profile[last])) / RESOLUTION

    (x0, x1), (y0, y1) = span(columns), span(rows)
    return torch.tensor([x0, y0, x1, y1])


def test_a_mirrored_picture_has_mirrored_boxes_and_twice_is_as_before() -> None:
    pixels, boxes = picture((1, 0.3, 0.6), (35, 0.7, 0.4))
    flag = torch.ones(1)
    there = mirror(pixels, boxes, flag)
    assert torch.allclose(ink_box(there[0])[[0, 2]], 1 - ink_box(pixels)[[2, 0]], atol=1e-6)
    back = mirror(*there, flag)
    assert torch.equal(back[0], pixels)
    assert torch.allclose(back[1], boxes)
    assert torch.equal(mirror(pixels, boxes, torch.zeros(1))[0], pixels)


def test_no_shape_is_another_in_the_mirror() -> None:
    for index in range(0, 60, 1):
        pixels, boxes = picture((index, 0.5, 0.5))
        mirrored, _ = mirror(pixels, boxes, torch.ones(1))
        assert (mirrored - pixels).abs().max() < 0.35  # the odd edge pixel, by the rounding of places


def test_a_still_field_changes_nothing() -> None:
    pixels, boxes = picture((1, 0.3, 0.6))
    warped, moved = warp(pixels, boxes, torch.zeros(1, 2, 5, 5))
    assert torch.allclose(warped, pixels, atol=1e-5)
    assert torch.allclose(moved, boxes, atol=1e-6)


@pytest.mark.parametrize("x, y", [(2, 0), (0, -3), (1, 4)])
def test_an_even_field_moves_picture_and_box_alike(x: int, y: int) -> None:
    pixels, boxes = picture((1, 0.5, 0.5))
    shift = torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, 5, 5) / RESOLUTION
    warped, moved = warp(pixels, boxes, shift)
    offset = torch.tensor([x, y, x, y]) / RESOLUTION
    assert torch.allclose(moved[0, 0], boxes[0, 0] - offset, atol=1e-5)
    assert torch.allclose(ink_box(warped), ink_box(pixels) - offset, atol=1e-3)


def test_bent_boxes_follow_what_is_bent() -> None:
    pixels, boxes = picture((1, 0.4, 0.55))
    for seed in range(8):
        randoms = draw_randoms(generator(seed), 1, 1.0)
        shift = hardening.WARP / 2 * randoms["warp"].clamp(-2, 2)
        warped, moved = warp(pixels, boxes, shift)
        # A square's sides bend, and a box follows their middles: its corners may go further.
        assert (ink_box(warped) - moved[0, 0]).abs().max() < 1.25 / RESOLUTION


def test_beyond_the_edge_it_is_white() -> None:
    pixels, boxes = picture((1, 0.5, 0.5))
    shift = torch.full((1, 2, 5, 5), 0.3)
    warped, _ = warp(pixels, boxes, shift)
    assert torch.allclose(warped[..., -10:, -10:], torch.ones(1), atol=1e-6)


def test_no_blur_is_the_picture_and_blur_keeps_the_ink() -> None:
    pixels, _ = picture((1, 0.5, 0.5))
    assert torch.allclose(blur(pixels, torch.zeros(1)), pixels, atol=1e-5)
    soft = blur(pixels, torch.tensor([0.8]))
    assert soft.sum().item() == pytest.approx(pixels.sum().item(), rel=1e-4)
    assert (soft - pixels).abs().max() > 0.1


def test_each_picture_is_blurred_by_its_own_amount() -> None:
    pixels, _ = picture((1, 0.5, 0.5))
    both = blur(pixels.expand(2, -1, -1, -1), torch.tensor([0.3, 0.8]))
    alone = torch.cat([blur(pixels, torch.tensor([s])) for s in (0.3, 0.8)])
    assert torch.allclose(both, alone, atol=1e-6)


def test_no_tint_and_no_noise_change_nothing() -> None:
    pixels, _ = picture((1, 0.5, 0.5))
    assert torch.equal(tint(pixels, torch.zeros(1), torch.randn(1, 3, 3, 3)), pixels)
    assert torch.equal(hardening.add_noise(pixels, torch.zeros(1), torch.randn(1, 4, 16, 16)), pixels)


def test_a_hardened_color_is_nearest_to_its_own_name() -> None:
    for index in (0, 5, 10):  # big full circles are at 0, 10, 20: one of each color is in reach below
        element = ALL_ELEMENTS[(index // 5) * 10]
        pixels, boxes = picture((element.index, 0.5, 0.5))
        for seed in range(20):
            hard, _ = augment(pixels, boxes, draw_randoms(generator(seed), 1, 1.0))
            center = hard[0, :, 30:34, 30:34].mean((1, 2)) * 255
            distances = {name: (center - torch.tensor(rgb)).norm().item() for name, rgb in RGB.items()}
            assert min(distances, key=distances.__getitem__) == element.color


def test_what_is_hardened_does_not_depend_on_its_neighbors() -> None:
    pixels, boxes = picture((1, 0.3, 0.6), (35, 0.7, 0.4))
    randoms = draw_randoms(generator(3), 6, 0.5)
    assert 0 < randoms["hard"].sum() < 6
    together = augment(pixels.expand(6, -1, -1, -1), boxes.expand(6, -1, -1), randoms)
    for i in range(6):
        alone = augment(pixels, boxes, {name: rows[i : i + 1] for name, rows in randoms.items()})
        assert torch.allclose(together[0][i], alone[0][0], atol=1e-6)
        assert torch.allclose(together[1][i], alone[1][0], atol=1e-6)


def test_pictures_that_are_not_hard_are_only_mirrored() -> None:
    pixels, boxes = picture((1, 0.3, 0.6))
    same, boxes_after = augment(pixels, boxes, draw_randoms(generator(1), 1, 0.0))
    assert torch.equal(same, pixels) or torch.equal(same, pixels.flip(-1))
    assert boxes_after.min() >= 0 and boxes_after.max() <= 1


def test_the_share_is_kept() -> None:
    hard = draw_randoms(generator(0), 4000, 0.3)["hard"]
    assert abs(hard.mean().item() - 0.3) < 0.03
