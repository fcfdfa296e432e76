"""The samples in files: `KEY.jpg`, `KEY.txt` and `KEY.json` are one sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from img2ds.storage import InputFile, InputTree, find_tree, read_whole
from laion.samples.sample import IMAGES, MAX_FILE, METADATA, TEXT, Sample

#: Extensions of files that belong to samples.
EXTENSIONS = tuple(f".{ending}" for ending in (*IMAGES, TEXT, METADATA))

#: A sample's key, and its files.
SampleFiles = tuple[str, tuple[InputFile, ...]]


def group_files(tree: InputTree) -> list[SampleFiles]:
    """Return the samples that the files of a folder make, in the order of their keys.

    A key is the path in the folder without its extension. Images that differ in their extension
    alone are samples of their own, with the same caption: the first one has that key, the others
    their whole path. A .json alone is no sample.
    """
    found: dict[str, list[InputFile]] = {}
    for file in tree.files:
        found.setdefault(tree.name(file).rpartition(".")[0], []).append(file)
    samples: list[SampleFiles] = []
    for stem, members in found.items():
        images = [file for file in members if _ending(file) in IMAGES]
        others = [file for file in members if _ending(file) not in IMAGES]
        if not images and any(_ending(file) == TEXT for file in others):
            samples.append((stem, tuple(others)))
        for place, image in enumerate(images):
            samples.append((tree.name(image) if place else stem, (image, *others)))
    return sorted(samples, key=lambda sample: sample[0])


def read_files(samples: Sequence[SampleFiles]) -> Iterator[Sample]:
    """Yield samples, each with the path of its image as `image_path`, as clip-retrieval has it.

    Raises:
        OSError: a file cannot be read.
    """
    for key, files in samples:
        sample = Sample(key)
        path = None
        for file in files:
            ending = _ending(file)
            if ending in IMAGES:
                path = file.path
            large = file.size is not None and file.size > MAX_FILE
            sample.add(ending, None if large else read_whole(file.path))
        if path is not None:
            sample.fields = {**sample.fields, "image_path": path}
        yield sample.complete()


def read_folder(folder: str) -> Iterator[Sample]:
    """Yield the samples of a folder of files, such as `00042/` of img2dataset.

    Raises:
        UsageError: it cannot be listed.
        OSError: a file cannot be read.
    """
    yield from read_files(group_files(find_tree(folder, EXTENSIONS)))


def _ending(file: InputFile) -> str:
    return file.path.rpartition(".")[2].lower()
