"""Train on images as they arrive, without a dataset on disk: a PyTorch IterableDataset.

python examples/06_stream_to_torch.py urls.csv
"""

import argparse
import io

import numpy as np
import torch
from PIL import Image

import img2ds


class Images(torch.utils.data.IterableDataset):
    """The images of a list; the workers of a data loader share it."""

    def __init__(self, urls, **flags):
        self.urls, self.flags = urls, flags

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        rank, world_size = (worker.id, worker.num_workers) if worker else (0, 1)
        for sample in img2ds.stream(
            self.urls, rank=rank, world_size=world_size, processes_count=1, **self.flags
        ):
            image = np.array(Image.open(io.BytesIO(sample.image)).convert("RGB"))
            yield torch.from_numpy(image).permute(2, 0, 1) / 255


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("list")
parser.add_argument("--server", help="send every request to this HOST:PORT")
args = parser.parse_args()
flags = {"connect_to": f"::{args.server}", "allow_private_addresses": True} if args.server else {}
images = Images(args.list, image_size=64, **flags)
for batch in torch.utils.data.DataLoader(images, batch_size=16, num_workers=2):
    print(f"a batch of shape {list(batch.shape)}, mean {batch.mean():.3f}")
