"""Train a small autoencoder on webdataset shards written by img2ds.

python examples/02_train_from_webdataset.py images
"""

import argparse
from pathlib import Path

import torch
import webdataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    tars = sorted(map(str, Path(args.folder).glob("*.tar")))
    samples = webdataset.WebDataset(tars, shardshuffle=100).shuffle(1000).repeat()
    pairs = samples.decode("torchrgb").to_tuple("jpg", "txt").batched(16)  # [16, 3, 256, 256]
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 8, stride=8),
        torch.nn.GELU(),
        torch.nn.ConvTranspose2d(16, 3, 8, stride=8),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step, (images, captions) in zip(range(args.steps), pairs, strict=False):
        loss = torch.nn.functional.mse_loss(model(images), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.4f} ({captions[0]!r} ...)", flush=True)


if __name__ == "__main__":
    main()
