"""The tag and the filter against prompts whose embeddings are axes: what is like what is plain."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from img2ds.core.failure import UsageError
from laion.tag.classifier import load_classifier
from laion.tag.illegal import ANIMAL, CAPTION_WORDS, UNDERAGE
from laion.tag.prompts import Prompts, load_prompts
from laion.tag.tagging import TagRules, make_rules, tag_rows

#: Prompts that each are an axis of their own; `safe a` in nsfw is axis 0, and so on.
DOCUMENT: dict[str, dict[str, list[str]]] = {
    "nsfw": {"safe": ["safe a", "safe b"], "unsafe": ["unsafe a", "unsafe b"]},
    "underage": {"flagged": ["young"], "other": ["old a", "old b"]},
    "animals": {"flagged": ["animal"], "other": ["thing a", "thing b"]},
    "captions": {"underage": ["kid", "under age"], "unsafe": ["nude"]},
}
AXES = [
    "safe a", "safe b", "unsafe a", "unsafe b", "young", "old a", "old b", "animal", "thing a",
    "thing b",
]  # fmt: skip


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.eye(len(AXES), dtype=np.float32)[[AXES.index(text) for text in texts]]


def prompts(tmp_path: Path, document: Any = DOCUMENT) -> Prompts:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(document))
    return load_prompts(str(path))


@pytest.fixture
def rules(tmp_path: Path) -> TagRules:
    return make_rules(prompts(tmp_path), embed)


def vector(*like: str) -> npt.NDArray[np.float16]:
    """A unit row that is like the prompts named, each less than the one before."""
    row = np.zeros(len(AXES), np.float32)
    for place, name in enumerate(like):
        row[AXES.index(name)] = 1 / (1 + place)
    unit: npt.NDArray[np.float32] = row / np.linalg.norm(row)
    return unit.astype(np.float16)


#: A text that no prompt of the filter flags.
NEUTRAL = vector("old a", "old b", "thing a")


def judge(
    rules: TagRules,
    image: npt.NDArray[Any],
    text: npt.NDArray[Any] = NEUTRAL,
    caption: str | None = "words",
) -> tuple[str, str | None]:
    """Tag and drop reason of one pair."""
    tagged = tag_rows(rules, image[None], text[None], [caption])
    return tagged.tags[0], next(iter(tagged.dropped), None)


@pytest.mark.parametrize(
    ("best", "tag"),
    [
        (("safe a", "safe b"), "UNLIKELY"),
        (("unsafe b", "unsafe a"), "NSFW"),
        (("safe a", "unsafe a"), "UNSURE"),
        (("unsafe a", "safe b"), "UNSURE"),
        # A third one does not count.
        (("safe b", "safe a", "unsafe a"), "UNLIKELY"),
    ],
)
def test_the_tag_goes_by_the_two_best_prompts(rules: TagRules, best: Any, tag: str) -> None:
    found, _ = judge(rules, vector(*best, "old a", "old b", "thing a"))
    assert found == tag


SAFE, UNSAFE = ("safe a", "safe b"), ("unsafe a", "unsafe b")


@pytest.mark.parametrize(
    ("image", "text", "caption", "reason"),
    [
        # Tagged, and nothing else: kept.
        ((*UNSAFE, "old a", "old b", "thing a"), None, "words", None),
        # Either of the two best is enough for under-age people,
        ((*UNSAFE, "young", "old a", "thing a"), None, "words", UNDERAGE),
        ((*UNSAFE, "old a", "young", "thing a"), None, "words", UNDERAGE),
        (("safe a", "unsafe b", "old a", "young", "thing a"), None, "words", UNDERAGE),
        # the third is not,
        ((*UNSAFE, "old a", "old b", "young", "thing a"), None, "words", None),
        # and only the best one counts for animals.
        ((*UNSAFE, "old a", "old b", "animal", "thing a"), None, "words", ANIMAL),
        ((*UNSAFE, "old a", "old b", "thing a", "animal"), None, "words", None),
        # The text's embedding is asked as well.
        ((*UNSAFE, "old a", "old b", "thing a"), ("young", "thing a"), "words", UNDERAGE),
        ((*UNSAFE, "old a", "old b", "thing a"), ("old a", "old b", "animal"), "words", ANIMAL),
        # Where the tag is UNLIKELY prompts drop nothing,
        ((*SAFE, "young", "animal"), ("young", "animal"), "words", None),
        # captions do.
        ((*SAFE, "old a", "old b"), None, "a nude kid", CAPTION_WORDS),
        ((*UNSAFE, "old a", "old b", "thing a"), None, "NUDE, Under Age", CAPTION_WORDS),
        ((*UNSAFE, "old a", "old b", "thing a"), None, "nude_kid2", CAPTION_WORDS),
        # Of several reasons the caption comes first, then under-age people.
        ((*UNSAFE, "young", "animal"), None, "a nude kid", CAPTION_WORDS),
        ((*UNSAFE, "young", "animal"), None, "words", UNDERAGE),
        # No caption names nothing.
        ((*UNSAFE, "old a", "old b", "thing a"), None, None, None),
        # One list alone, or a part of a word, does not.
        ((*UNSAFE, "old a", "old b", "thing a"), None, "kid", None),
        ((*UNSAFE, "old a", "old b", "thing a"), None, "nude", None),
        ((*UNSAFE, "old a", "old b", "thing a"), None, "denuded kidney", None),
    ],
)
def test_what_the_filter_drops(
    rules: TagRules, image: Any, text: Any, caption: str | None, reason: str | None
) -> None:
    rows = NEUTRAL if text is None else vector(*text)
    assert judge(rules, vector(*image), rows, caption)[1] == reason


def test_rules_travel_to_workers(rules: TagRules) -> None:
    again = pickle.loads(pickle.dumps(rules))
    image = vector(*UNSAFE, "old a", "young", "thing a")
    assert judge(again, image) == judge(rules, image) == ("NSFW", UNDERAGE)


def test_rows_of_several_blocks_are_all_judged(
    rules: TagRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laion.tag.tagging.BLOCK", 3)
    kinds = [vector(*SAFE), vector(*UNSAFE, "old a", "old b", "thing a"), vector(*UNSAFE, "young")]
    images = np.stack([kinds[n % 3] for n in range(11)])
    tagged = tag_rows(rules, images, np.stack([NEUTRAL] * 11), ["words"] * 10 + ["nude kid"])
    assert tagged.tags == [("UNLIKELY", "NSFW", "NSFW")[n % 3] for n in range(11)]
    assert tagged.kept.tolist() == [n % 3 != 2 and n != 10 for n in range(11)]
    assert tagged.dropped == {UNDERAGE: 3, CAPTION_WORDS: 1}
    assert tagged.metrics() == {"nsfw_unlikely": 4, "nsfw_nsfw": 3}


def test_the_packages_own_prompts_are_one_list_item_each() -> None:
    """A missing comma once glued two prompts; here no prompt holds two of the lists' own."""
    own = load_prompts()
    groups = [own.nsfw.prompts, own.underage.prompts, own.animals.prompts]
    groups += [own.words.underage, own.words.unsafe]
    for entries in groups:
        assert len(set(entries)) == len(entries) >= 5
        for entry in entries:
            assert len(entry.split()) <= 5, f"{entry!r} looks like several"
            assert "," not in entry
            own_words = [other for other in entries if other.isascii()]
            glued = [
                a for a in own_words for b in own_words if entry in (a + b, f"{a} {b}")
            ]  # fmt: skip
            assert not glued, entry
    assert own.nsfw.other
    assert len(own.nsfw.flagged) >= 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nsfw": None}, "nsfw must hold the lists safe and unsafe"),
        ({"nsfw": {"safe": ["a", "b"]}}, "nsfw must hold the lists safe and unsafe"),
        (
            {"nsfw": {"safe": ["a"], "unsafe": ["b", "c"]}},
            "has 1 entries and needs at least 2",
        ),
        ({"nsfw": {"safe": ["a", "b"], "unsafe": ["c", "A "]}}, "'a' is in nsfw twice"),
        ({"animals": {"flagged": "dog", "other": ["x"]}}, "animals.flagged must be a list"),
        ({"animals": {"flagged": ["dog", 7], "other": ["x"]}}, "animals.flagged must be a list"),
        ({"underage": {"flagged": [" "], "other": ["x"]}}, "a list of texts, none of them empty"),
        ({"nfsw": {}}, "unknown group 'nfsw'; the groups are nsfw, underage"),
    ],
)
def test_a_prompts_file_of_another_form_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        prompts(tmp_path, {**DOCUMENT, **change})
    assert len(str(caught.value).splitlines()) == 1


def test_a_prompts_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_prompts(str(tmp_path / "nowhere.json"))
    (tmp_path / "bad.json").write_text('{"nsfw": ["a" "b"]}')
    with pytest.raises(UsageError, match="is not JSON"):
        load_prompts(str(tmp_path / "bad.json"))


def save_classifier(path: Path, **changes: Any) -> str:
    """Two layers over ten numbers: the probability rises with `unsafe a` alone."""
    first = np.zeros((10, 2), np.float32)
    first[AXES.index("unsafe a"), 0] = 20
    arrays = {
        "weight_0": first, "bias_0": np.array([-10, -1], np.float32),
        "weight_1": np.array([[1], [100]], np.float32), "bias_1": np.array([-2], np.float32),
        "thresholds": np.array([0.3, 0.9], np.float32), **changes,
    }  # fmt: skip
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def test_a_classifier_takes_the_place_of_the_prompts_of_the_tag(tmp_path: Path) -> None:
    path = save_classifier(tmp_path / "head.npz")
    classifier = load_classifier(path)
    rows = np.zeros((3, 10), np.float16)
    rows[:, AXES.index("unsafe a")] = [0.2, 0.6, 1.0]  # relu: 0, 2, 10
    expected = [1 / (1 + np.exp(-logit)) for logit in (-2, 0, 8)]
    assert classifier.probabilities(rows) == pytest.approx(expected, rel=1e-2)
    assert classifier.tags(rows).tolist() == ["UNLIKELY", "UNSURE", "NSFW"]
    rules = make_rules(prompts(tmp_path), embed, path)
    # The filter still goes by its prompts.
    assert judge(rules, vector("unsafe a", "young")) == ("NSFW", UNDERAGE)
    assert judge(rules, vector("safe a", "young")) == ("UNLIKELY", None)
    with pytest.raises(UsageError, match="embeddings of 10 numbers, the model's have 12"):
        make_rules(prompts(tmp_path), lambda texts: np.eye(12, dtype=np.float32), path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight_0": None}, "must have one output"),
        ({"weight_1": np.ones((2, 3)), "bias_1": np.ones(3)}, "must have one output"),
        ({"bias_0": None}, r"layer 0 needs weight \[n, m\] and bias \[m\]"),
        ({"weight_1": np.ones((5, 1))}, "layer 1 has 5 inputs, the one before has 2 outputs"),
        ({"thresholds": np.array([0.9, 0.3])}, "two probabilities, the lower one first"),
        ({"thresholds": np.array([0.3, 1.5])}, "two probabilities, the lower one first"),
        ({"scale": np.zeros(10)}, "scale above 0"),
        ({"other": np.zeros(1)}, "unknown array 'other'"),
        ({"mean": np.array(["x"])}, r"not a \.npz file of numbers"),
    ],
)
def test_a_classifier_of_another_form_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        load_classifier(save_classifier(tmp_path / "head.npz", **changes))


def test_a_classifier_that_is_not_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_text("no archive")
    with pytest.raises(UsageError, match=r"not a \.npz file of numbers"):
        load_classifier(str(tmp_path / "head.npz"))
    with pytest.raises(UsageError, match="no such file"):
        load_classifier(str(tmp_path / "nowhere.npz"))


def test_of_equally_similar_prompts_the_flagged_one_counts(rules: TagRules) -> None:
    """The filter is meant to drop too much rather than too little."""
    row = np.ones(len(AXES), np.float16) / np.float16(len(AXES) ** 0.5)
    assert judge(rules, row) == ("NSFW", UNDERAGE)


def test_empty_word_lists_drop_nothing(tmp_path: Path) -> None:
    document = {**DOCUMENT, "captions": {"underage": [], "unsafe": []}}
    rules = make_rules(prompts(tmp_path, document), embed)
    assert judge(rules, vector(*SAFE, "old a"), caption="a nude kid")[1] is None


def test_tags_replace_those_of_an_earlier_run(rules: TagRules) -> None:
    tagged = tag_rows(rules, np.stack([vector(*SAFE)]), np.stack([NEUTRAL]), ["words"])
    table = pa.table({"nsfw": ["NSFW"], "url": ["u"]})
    assert tagged.add_to(table).to_pylist() == [{"url": "u", "nsfw": "UNLIKELY"}]


def test_the_order_of_a_prompts_file_does_not_matter(tmp_path: Path) -> None:
    turned = dict(reversed(DOCUMENT.items()))
    assert prompts(tmp_path, turned).digest == prompts(tmp_path).digest
    other = {**DOCUMENT, "animals": {"flagged": ["animal"], "other": ["thing b", "thing a"]}}
    assert prompts(tmp_path, other).digest != prompts(tmp_path).digest


@pytest.mark.parametrize(("thresholds", "tag"), [((0.5, 0.9), "UNSURE"), ((0.3, 0.5), "NSFW")])
def test_a_probability_at_a_threshold_is_above_it(
    tmp_path: Path, thresholds: tuple[float, float], tag: str
) -> None:
    path = save_classifier(
        tmp_path / "head.npz", thresholds=np.array(thresholds), mean=np.full(10, 1.0),
        scale=np.full(10, 2.0),
    )  # fmt: skip
    row = np.zeros((1, 10), np.float16)
    row[0, AXES.index("unsafe a")] = 2.2  # (2.2 - 1) / 2 = 0.6, of which relu makes 2: a logit of 0
    classifier = load_classifier(path)
    assert classifier.probabilities(row) == pytest.approx(0.5, abs=5e-3)
    exact = np.full((1, 10), 0.0, np.float32)
    exact[0, AXES.index("unsafe a")] = 2.2
    assert classifier.probabilities(exact)[0] == pytest.approx(0.5, abs=1e-5)
    flat = save_classifier(
        tmp_path / "flat.npz", weight_1=np.zeros((2, 1)), bias_1=np.zeros(1),
        thresholds=np.array(thresholds),
    )  # fmt: skip
    assert load_classifier(flat).tags(row).tolist() == [tag]
