"""What open_clip's registry knows of weights that are given as a file: their preprocessing.

Tags of the registry bring the mean, the deviation, the interpolation and the resize mode that their
weights were trained with; a file brings none. Its tag is the one that is given, or shown by what
lies beside the file or by its name; where all tags of its model agree, none is needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from img2ds.core.failure import UsageError

#: The entries of a tag that say how images are prepared.
_KEYS = ("mean", "std", "interpolation", "resize_mode")
#: The file that lies beside weights in folders of the Hugging Face hub.
_CONFIG = "open_clip_config.json"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """How images are prepared for weights, and whether their activation is QuickGELU.

    `preprocess` has the keys of open_clip's `force_preprocess_cfg`; empty for the model's own.
    """

    preprocess: dict[str, Any] = field(default_factory=dict)
    quick_gelu: bool = False

    @property
    def text(self) -> str:
        """As JSON, for notes; the same text for the same values."""
        return json.dumps(asdict(self), sort_keys=True)


def describe_weights(
    model: str, path: str, tag: str | None, tags: Mapping[str, Mapping[str, Any]]
) -> WeightsFile:
    """Return what is known of the weights in the file `path`.

    Args:
        model: the model's name in the registry.
        tag: the tag that the weights are of, if the user says so.
        tags: the registry's entries of the model, by tag.

    Raises:
        UsageError: there is no such tag, or the tags of the model differ and nothing tells.
    """
    if tag is not None:
        if tag not in tags:
            known = ", ".join(tags) or "none"
            raise UsageError(f"--pretrained_tag {tag} is not a tag of {model} (tags: {known})")
        return _of(tags[tag])
    beside = _read_beside(path)
    entry = _by_name(path, tags)
    if entry is not None:
        found = _of(entry)
        return WeightsFile({**found.preprocess, **beside}, found.quick_gelu)
    quick_gelu = bool(tags) and all(one.get("quick_gelu") for one in tags.values())
    if beside:
        return WeightsFile(beside, quick_gelu)
    ways = {WeightsFile(_of(one).preprocess, quick_gelu).text for one in tags.values()}
    if len(ways) > 1:
        raise UsageError(
            f"--pretrained {path}: weights of {model} differ in how images are prepared: "
            f"say which these are like with --pretrained_tag (tags: {', '.join(tags)})"
        )
    return WeightsFile(**json.loads(ways.pop())) if ways else WeightsFile()


def _of(entry: Mapping[str, Any]) -> WeightsFile:
    preprocess = {
        key: list(entry[key]) if isinstance(entry[key], (tuple, list)) else entry[key]
        for key in _KEYS
        if key in entry
    }
    return WeightsFile(preprocess, bool(entry.get("quick_gelu", False)))


def _read_beside(path: str) -> dict[str, Any]:
    """Return the preprocessing that a hub's folder states for its weights."""
    try:
        with open(os.path.join(os.path.dirname(path), _CONFIG), encoding="utf-8") as file:
            stated = json.load(file)["preprocess_cfg"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {key: stated[key] for key in _KEYS if key in stated} if isinstance(stated, dict) else {}


def _by_name(path: str, tags: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the entry whose download has this file's name, or whose repository has its folder."""
    name = os.path.basename(path)
    for entry in tags.values():
        if entry.get("url") and os.path.basename(str(entry["url"])) == name:
            return entry
        repository = str(entry.get("hf_hub") or "").strip("/")
        if repository and f"/models--{repository.replace('/', '--')}/" in path:
            return entry
    return None
