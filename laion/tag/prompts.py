"""Prompts and word lists for tagging: `prompts.json`, or a user's file of the same form.

nsfw      safe, unsafe       prompts of the tag
underage  flagged, other     prompts of the filter of illegal content
animals   flagged, other
captions  underage, unsafe   words; a caption with one of each is dropped. `nud*` are all words that
                             begin so

The package's own file has the English words; those of other languages are in `caption_words.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from typing import Any

from img2ds.core.failure import UsageError
from laion.tag.caption_words import CaptionWords

#: The groups of the file, their lists, and the least number of entries of each list. The tag uses
#: the two best prompts, which may both be of one kind.
_LISTS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "nsfw": (("safe", 2), ("unsafe", 2)),
    "underage": (("flagged", 1), ("other", 1)),
    "animals": (("flagged", 1), ("other", 1)),
    "captions": (("underage", 0), ("unsafe", 0)),
}


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts that flag a pair, and prompts that do not."""

    flagged: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """All prompts, the flagged ones first."""
        return self.flagged + self.other


@dataclass(frozen=True, slots=True)
class Prompts:
    """The content of a prompts file; `digest` is its SHA-256 in hex."""

    nsfw: Group
    underage: Group
    animals: Group
    words: CaptionWords
    digest: str


def load_prompts(path: str | None = None, begun: str | None = None) -> Prompts:
    """Read the prompts of a file, or the package's own when `path` is None.

    Args:
        begun: the digest that the output folder was begun with. If it is that of the package's own
            English words alone, which had no others at first, these are meant.

    Raises:
        UsageError: the file cannot be read, or has another form; the message says where.
    """
    name = "prompts.json" if path is None else f"--prompts {path}"
    try:
        if path is None:
            text = files("laion.tag").joinpath("prompts.json").read_text("utf-8")
        else:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        document = json.loads(text)
    except OSError as error:
        raise UsageError(
            f"{name} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    except ValueError as error:
        raise UsageError(f"{name} is not JSON: {error}") from None
    found = {group: _group(name, document, group) for group in _LISTS}
    if path is None and _digest(found) != begun:
        found["captions"] = _with_languages(found["captions"])
    return Prompts(
        Group(found["nsfw"]["unsafe"], found["nsfw"]["safe"]),
        Group(found["underage"]["flagged"], found["underage"]["other"]),
        Group(found["animals"]["flagged"], found["animals"]["other"]),
        CaptionWords(found["captions"]["underage"], found["captions"]["unsafe"]),
        _digest(found),
    )


def _digest(groups: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(groups, sort_keys=True).encode()).hexdigest()


def _with_languages(words: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the lists with the words of all languages, each once."""
    text = files("laion.tag").joinpath("caption_words.json").read_text("utf-8")
    languages: dict[str, dict[str, list[str]]] = json.loads(text)
    return {
        key: tuple(dict.fromkeys(chain(own, *(lists[key] for lists in languages.values()))))
        for key, own in words.items()
    }


def _group(name: str, document: Any, group: str) -> dict[str, tuple[str, ...]]:
    """Return the lists of one group, checked."""
    if not isinstance(document, dict):
        raise UsageError(f"{name} must hold an object with {', '.join(_LISTS)}")
    unknown = sorted(set(document) - set(_LISTS))
    if unknown:
        raise UsageError(
            f"{name}: unknown group {unknown[0]!r}; the groups are {', '.join(_LISTS)}"
        )
    lists = document.get(group)
    names = [key for key, _ in _LISTS[group]]
    if not isinstance(lists, dict) or sorted(lists) != sorted(names):
        raise UsageError(f"{name}: {group} must hold the lists {' and '.join(names)}")
    found = {}
    for key, least in _LISTS[group]:
        entries = lists[key]
        where = f"{name}: {group}.{key}"
        if not isinstance(entries, list) or not all(
            isinstance(entry, str) and entry.strip() for entry in entries
        ):
            raise UsageError(f"{where} must be a list of texts, none of them empty")
        if len(entries) < least:
            raise UsageError(f"{where} has {len(entries)} entries and needs at least {least}")
        found[key] = tuple(entry.strip() for entry in entries)
    together = [entry.casefold() for entries in found.values() for entry in entries]
    for entry in together:
        if together.count(entry) > 1:
            raise UsageError(f"{name}: {entry!r} is in {group} twice")
    return found
