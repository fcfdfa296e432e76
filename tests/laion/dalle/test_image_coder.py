"""The codebook and the image coder: gradients, use of codes, shapes."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from laion.dalle.image_coder import COMMITMENT, Codebook, ImageCoder


def test_the_gradient_goes_straight_through() -> None:
    torch.manual_seed(0)
    book = Codebook(8, 4).eval()
    latents = torch.randn(2, 4, 3, 3, requires_grad=True)
    quantized, numbers, _ = book(latents)
    assert torch.allclose(quantized, book.look_up(numbers), atol=1e-6)
    wanted = torch.randn_like(quantized)
    (quantized * wanted).sum().backward()
    torch.testing.assert_close(latents.grad, wanted)


def test_commitment_pulls_latents_to_their_codes() -> None:
    torch.manual_seed(0)
    book = Codebook(8, 4).eval()
    latents = torch.randn(2, 4, 3, 3, requires_grad=True)
    quantized, _, loss = book(latents)
    loss.backward()
    away = 2 * COMMITMENT * (latents - quantized).detach() / latents.numel()
    torch.testing.assert_close(latents.grad, away)


def test_numbers_are_of_the_nearest_codes() -> None:
    torch.manual_seed(1)
    book = Codebook(16, 4)
    latents = torch.randn(50, 4)
    assert torch.equal(book.nearest(latents), torch.cdist(latents, book.codes).argmin(1))


def test_codes_become_the_means_of_their_latents_and_unused_ones_restart() -> None:
    """Eight clusters, and codes that all begin far from most of them."""
    torch.manual_seed(2)
    centres = torch.randn(8, 4) * 4
    book = Codebook(64, 4).train()
    book.begun.fill_(True)
    book.codes.copy_(centres[[0, 1] * 32] + 0.01 * torch.randn(64, 4))
    book.sums.copy_(book.codes)
    for _ in range(300):
        latents = centres[torch.randint(8, (64,))] + 0.05 * torch.randn(64, 4)
        book(latents.T.reshape(1, 4, 8, 8))
    distance, nearest = torch.cdist(centres, book.codes).min(1)
    assert len(set(nearest.tolist())) == 8
    assert float(distance.max()) < 1, "the clusters are about eight apart"
    assert float(torch.cdist(book.codes, centres).min(1).values.max()) < 2, "none stays idle"


def test_codes_do_not_change_in_evaluation() -> None:
    book = Codebook(8, 4).eval()
    before = book.codes.clone()
    book(torch.randn(1, 4, 5, 5))
    assert torch.equal(book.codes, before)
    assert not bool(book.begun)


@pytest.mark.parametrize("downsampling", [2, 4, 8, 16])
def test_images_to_codes_and_back(downsampling: int) -> None:
    torch.manual_seed(3)
    coder = ImageCoder(32, 8, downsampling).eval()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    side = 32 // downsampling
    made, numbers, _ = coder(images)
    assert made.shape == images.shape
    assert numbers.shape == (2, side, side)
    codes = coder.encode(images)
    assert torch.equal(codes, numbers.flatten(1))
    torch.testing.assert_close(coder.decode(codes), made.clamp(-1, 1), atol=1e-4, rtol=1e-4)
