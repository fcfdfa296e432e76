"""The filters of papers, by their rules, on small data; files from outside have small stand-ins."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digests
from laion import cli
from laion.filter import concept_counts
from laion.filter.concepts import Counts, probabilities
from laion.filter.options import FilterOptions
from laion.filter.stage import run
from tests.laion.embedding_folders import row, write_tree
from tests.laion.killed_command import KILLS

ROOT = Path(__file__).parents[3]

#: Caption, language, width, height, and what datacomp-basic drops the pair for.
BASIC: list[tuple[str | None, str | None, int | None, int | None, str | None]] = [
    ("a red house", "en", 200, 600, None),
    ("a red house", "en", 200, 601, "aspect_ratio"),
    ("a red house", "en", 199, 400, "small_image"),
    ("a red house", "de", 800, 600, "not_english"),
    ("red house", "en", 800, 600, "few_words"),
    ("a b c", "en", 800, 600, "few_characters"),
    ("a b cd", "en", 800, 600, None),
    ("a photo of a red house", None, 800, 600, None),
    ("Das Haus steht am See", None, 800, 600, "not_english"),
    (None, None, 800, 600, "not_english"),
    ("a red house", "en", None, None, "small_image"),
]


def keep(source: Path, out: Path, **flags: Any) -> list[int]:
    """Filter; return the numbers of the kept pairs."""
    report = run(
        FilterOptions(input=str(source), output_folder=str(out), processes_count=1, **flags)
    )
    assert report.exit_code == 0, report.text
    paths = sorted((out / "metadata").glob("*.parquet"))
    return [int(key) for path in paths for key in pq.read_table(path)["key"].to_pylist()]


def reasons(out: Path) -> Counter[str]:
    total: Counter[str] = Counter()
    for path in out.glob("*_stats.json"):
        marker = json.loads(path.read_text())
        assert marker["count"] == marker["successes"] + sum(marker["reasons"].values())
        total.update(marker["reasons"])
    return total


def captions_tree(folder: Path, captions: list[str], **values: Any) -> Path:
    """Two shards of pairs with these captions."""
    half = len(captions) // 2
    rows = [row(n, caption=text, **values) for n, text in enumerate(captions)]
    write_tree(folder, {0: rows[:half], 1: rows[half:]})
    return folder


def test_datacomp_basic(tmp_path: Path) -> None:
    rows = [
        row(n, caption=text, language=code, original_width=width, original_height=height)
        for n, (text, code, width, height, _) in enumerate(BASIC)
    ]
    write_tree(tmp_path / "in", {0: rows})
    kept = keep(tmp_path / "in", tmp_path / "out", recipe="datacomp-basic")
    assert kept == [n for n, case in enumerate(BASIC) if case[-1] is None]
    assert reasons(tmp_path / "out") == Counter(case[-1] for case in BASIC if case[-1])


def test_datacomp_clip_30_is_the_best_third_but_one(tmp_path: Path) -> None:
    values = np.random.default_rng(0).permutation(40) / 100
    rows = [row(n, similarity=float(value)) for n, value in enumerate(values)]
    write_tree(tmp_path / "in", {0: rows[:15], 1: rows[15:]})
    kept = keep(tmp_path / "in", tmp_path / "out", recipe="datacomp-clip-30")
    assert sorted(values[kept]) == [n / 100 for n in range(28, 40)]


def test_laion2b(tmp_path: Path) -> None:
    cases = [("en", 0.28), ("en", 0.2799), ("fr", 0.4), ("en", 0.5)]
    rows = [row(n, language=code, similarity=value) for n, (code, value) in enumerate(cases)]
    write_tree(tmp_path / "in", {0: rows})
    assert keep(tmp_path / "in", tmp_path / "out", recipe="laion2b") == [0, 3]
    assert reasons(tmp_path / "out") == {"low_similarity": 1, "not_english": 1}


def write_wordnet(folder: Path) -> Path:
    """A WordNet of five words, in its files' format."""
    folder.mkdir()
    index = {
        # lemma, part, synsets, pointers, symbols, senses, tagged, offsets
        "noun": "  1 a licence\ndog n 2 1 @ 2 1 02084071 10114209  \nman n 1 0 1 1 09605289  \n"
        "bank n 2 2 @ ~ 2 1 09213565 08420278  \n",
        "verb": "run v 1 1 @ 1 1 01926311  \n",
        "adj": "quick a 1 0 1 1 00976508  \n",
        "adv": "",
    }
    exceptions = {"noun": "", "verb": "ran run\n", "adj": "", "adv": ""}
    for part, text in index.items():
        (folder / f"index.{part}").write_text(text)
        (folder / f"{part}.exc").write_text(exceptions[part])
    return folder


def test_datacomp_text_takes_the_first_synset_of_each_word(tmp_path: Path) -> None:
    wordnet = write_wordnet(tmp_path / "dict")
    synsets = tmp_path / "synsets.txt"
    synsets.write_text("n02084071\nn08420278\nn09605289\n")
    captions = [
        "my Dogs in the garden",  # dogs -> dog
        "a dog, in the garden",  # the comma belongs to the word
        "the bank of the river",  # its second synset is on the list, the first is not
        "two men on a ship",  # men -> man
        "he ran home quickly",  # a synset, but not of the list
        "nothing that is known here",
    ]
    source = captions_tree(tmp_path / "in", captions)
    flags = {"recipe": "datacomp-text", "wordnet": str(wordnet), "synsets": str(synsets)}
    assert keep(source, tmp_path / "out", **flags) == [0, 3]
    assert reasons(tmp_path / "out") == {"no_synset": 4}
    synsets.write_text("01926311\n")
    assert keep(source, tmp_path / "verbs", **flags) == [4]  # ran -> run


def test_datacomp_image_keeps_the_clusters_of_the_targets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centroids = np.eye(8, dtype=np.float32)
    targets = centroids[[2, 5, 5]] + rng.normal(0, 0.1, (3, 8)).astype(np.float32)
    np.save(tmp_path / "centroids.npy", centroids)
    np.save(tmp_path / "a.npy", targets[:1])
    np.save(tmp_path / "b.npy", targets[1:])
    clusters = [0, 2, 5, 7, 2, 2]
    images = centroids[clusters] + rng.normal(0, 0.1, (6, 8))
    captions = ["a house"] * 4 + ["house", "un deux trois quatre"]
    languages = ["en"] * 5 + ["fr"]
    rows = [row(n, caption=captions[n], language=languages[n]) for n in range(6)]
    write_tree(tmp_path / "in", {0: rows}, images={0: images.astype(np.float16)},
               texts={0: images.astype(np.float16)})  # fmt: skip
    kept = keep(
        tmp_path / "in", tmp_path / "out", recipe="datacomp-image",
        centroids=(str(tmp_path / "centroids.npy"),),
        targets=(str(tmp_path / "a.npy"), str(tmp_path / "b.npy")),
    )  # fmt: skip
    assert kept == [1, 2]
    assert reasons(tmp_path / "out") == {"other_cluster": 2, "few_words": 1, "not_english": 1}


def test_metaclip_flattens_the_frequent_concepts(tmp_path: Path) -> None:
    concepts = tmp_path / "concepts.json"
    concepts.write_text(json.dumps(["cat", "red house", "Paris", "never"]))
    captions = ["a cat"] * 400 + ["a red house"] * 20 + ["cats and a Red house, paris"] * 30
    captions += ["a cat in a red house"] * 10 + ["see Paris: now"] * 10
    source = captions_tree(tmp_path / "in", captions)
    flags = {"recipe": "metaclip", "concepts": str(concepts), "concept_limit": 40}
    kept = set(keep(source, tmp_path / "out", **flags))
    rare = {n for n, text in enumerate(captions) if "red house" in text or "Paris" in text}
    assert rare <= kept, "an entry with fewer matches than the limit keeps all its pairs"
    cats = kept - rare
    # 410 matches: each cat is kept with 40 / 410, so 39 of 400; 6 is the deviation.
    assert 39 - 18 < len(cats) < 39 + 18
    found = reasons(tmp_path / "out")
    assert found == {"no_concept": 30, "concept_limit": 400 - len(cats)}
    again = set(keep(source, tmp_path / "again", **flags, incremental_mode="overwrite"))
    assert again == kept
    assert set(keep(source, tmp_path / "seed", **flags, seed=1)) != kept


def test_matching_is_that_of_substrings_between_spaces() -> None:
    from laion.filter.concepts import Concepts

    entries = ("a", "a b", "b c", "c", "New York", "x", "b  c", "?")
    texts = [
        "a b c", "ab c", "a, b", "New York", "new york", "New  York", "in New York!", "x\ty", "",
        "b  c", "why?", "A B C", "a b c a b c",
    ]  # fmt: skip
    rows, found = Concepts(entries, "").matches(texts)

    def oracle(text: str) -> list[int]:
        spaced = f" {text} "
        for sign in ",.;:?!`":
            spaced = spaced.replace(sign, f" {sign} ")
        for space in "\t\n\r":
            spaced = spaced.replace(space, " ")
        return [n for n, entry in enumerate(entries) if f" {entry} " in spaced]

    expected = [(n, entry) for n, text in enumerate(texts) for entry in oracle(text)]
    assert list(zip(rows.tolist(), found.tolist(), strict=True)) == expected
    assert len(expected) > 15


def test_dfn_goes_by_the_scores_of_a_second_model(tmp_path: Path) -> None:
    second = np.random.default_rng(1).permutation(20) / 100
    rows = [row(n, similarity=n / 100) for n in range(20)]
    scored = [row(n, similarity=float(second[n])) for n in range(20) if n != 13]
    write_tree(tmp_path / "in", {0: rows[:8], 1: rows[8:]})
    # In another order, one pair lost.
    write_tree(tmp_path / "second", {0: scored[:8][::-1], 1: scored[8:][::-1]})
    second[13] = -1
    flags = {"recipe": "dfn", "second_scores": str(tmp_path / "second")}
    best = sorted(range(20), key=lambda n: -second[n])
    assert keep(tmp_path / "in", tmp_path / "out", **flags) == sorted(best[:3])  # 15 % of 19
    found = reasons(tmp_path / "out")
    assert found["no_second_score"] == 1
    assert sum(found.values()) == 17
    kept = keep(tmp_path / "in", tmp_path / "half", **flags, keep_top=0.5)
    assert kept == sorted(best[:10])


def test_a_recipe_applies_to_what_the_condition_keeps(tmp_path: Path) -> None:
    rows = [row(n, similarity=n / 10, width=n) for n in range(10)]
    write_tree(tmp_path / "in", {0: rows})
    flags = {"where": "width < 8", "recipe": "datacomp-clip-30"}
    assert keep(tmp_path / "in", tmp_path / "out", **flags) == [5, 6, 7]
    assert reasons(tmp_path / "out") == {"width < 8": 2, "similarity >= 0.5": 5}


def test_uids_are_those_of_datacomps_resharder(tmp_path: Path) -> None:
    import pyarrow as pa

    uids = [f"{n * 0x1234567890ABCDEF1234567890ABCDEF % 2**128:032x}" for n in range(300, 0, -1)]
    rows = [row(n, uid=uid, width=n) for n, uid in enumerate(uids)]
    uid = [pa.field("uid", pa.string())]
    write_tree(tmp_path / "in", {0: rows[:100], 1: rows[100:250], 2: rows[250:]}, columns=uid)
    kept = keep(tmp_path / "in", tmp_path / "out", where="width % 3 = 0", uids=True)
    found = np.load(tmp_path / "out/uids.npy")
    # As DataComp's README writes such a file.
    expected = np.array(
        [(int(uids[n][:16], 16), int(uids[n][16:32], 16)) for n in kept], np.dtype("u8,u8")
    )
    expected.sort()
    assert found.dtype == np.dtype("u8,u8")
    assert (found == expected).all()
    assert len(found) == 100


def test_pairs_without_a_uid_have_the_digest(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {0: [row(n) for n in range(9)]})
    keep(tmp_path / "in", tmp_path / "out", where="key > '000000002'", uids=True)
    found = np.load(tmp_path / "out/uids.npy")
    words = pair_digests(
        [f"http://photos.example/{n}.jpg" for n in range(3, 9)],
        [f"image {n}" for n in range(3, 9)],
    )
    assert sorted(found.tolist()) == found.tolist() == sorted(map(tuple, words.tolist()))


def test_a_recipe_resumes_with_the_same_files_only(tmp_path: Path) -> None:
    concepts = tmp_path / "concepts.txt"
    concepts.write_text("cat\nhouse\n")
    source = captions_tree(tmp_path / "in", ["a cat", "a house", "a dog", "a cat"])
    flags = {"recipe": "metaclip", "concepts": str(concepts), "uids": True}
    out = tmp_path / "out"
    assert keep(source, out, **flags) == [0, 1, 3]
    before = {p: p.read_bytes() for p in out.rglob("*") if p.suffix in (".parquet", ".npy")}
    (out / "00001_stats.json").unlink()
    (out / "uids.npy").unlink()
    assert keep(source, out, **flags) == [0, 1, 3]
    after = {p: p.read_bytes() for p in out.rglob("*") if p.suffix in (".parquet", ".npy")}
    assert after == before
    concepts.write_text("cat\n")
    command = ["filter", "--input", str(source), "--output_folder", str(out), "--uids"]
    assert cli.run([*command, "--recipe", "metaclip", "--concepts", str(concepts)]) == 2
    assert cli.run([*command, "--where", "true"]) == 2


def test_concepts_are_counted_by_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributor_name: str
) -> None:
    """Each entry's matches are those of one pass over all captions, however it is divided."""
    (tmp_path / "concepts.txt").write_text("house\ncat\n")
    random = np.random.default_rng(0)
    captions = [str(text) for text in random.choice(["a cat", "a house", "cat house", "dog"], 300)]
    rows = [row(n, caption=text) for n, text in enumerate(captions)]
    write_tree(tmp_path / "in", {n: rows[n * 60 : n * 60 + 60] for n in range(5)})
    monkeypatch.setattr(concept_counts, "_TASKS", 3)
    found: list[list[int]] = []

    def noted(counts: Counts, limit: int) -> Any:
        found.append(counts.tolist())
        return probabilities(counts, limit)

    monkeypatch.setattr("laion.filter.recipes.probabilities", noted)
    kept = keep(
        tmp_path / "in", tmp_path / "out", recipe="metaclip", concept_limit=40,
        concepts=str(tmp_path / "concepts.txt"), distributor=distributor_name,
    )  # fmt: skip
    assert found == [[sum(word in text for text in captions) for word in ("house", "cat")]]
    assert 40 < len(kept) < 160
    assert not (tmp_path / "out/.img2ds").exists()


@pytest.mark.parametrize(
    "name",
    ["uids/uids_00001.npy", "00001_stats.json", "uids.npy", "00001.counts.npy"],
)
def test_a_killed_filter_is_resumed(name: str, tmp_path: Path) -> None:
    (tmp_path / "concepts.txt").write_text("house\ncat\n")
    captions = ["a cat", "a house", "a cat in a house", "dog"] * 30
    source = captions_tree(tmp_path / "in", captions)
    flags = ["--recipe", "metaclip", "--concepts", f"{tmp_path}/concepts.txt", "--uids"]
    more = ["--concept_limit", "20", "--processes_count", "1"]
    command = ["filter", "--input", str(source), *flags, *more, "--output_folder"]
    assert cli.run([*command, str(tmp_path / "calm")]) == 0
    killed = subprocess.run(
        [sys.executable, "-c", KILLS, name, str(tmp_path / "killed"), *command, f"{tmp_path}/out"],
        cwd=ROOT, start_new_session=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out/uids.npy").exists()
    assert cli.run([*command, str(tmp_path / "out")]) == 0
    calm, out = tmp_path / "calm", tmp_path / "out"
    files = sorted(str(p.relative_to(calm)) for p in calm.rglob("*.[np][pa]*") if p.is_file())
    assert len(files) == 2 * 4 + 1
    for file in files:
        assert (calm / file).read_bytes() == (out / file).read_bytes()
    assert reasons(calm) == reasons(out)
    assert 20 < len(np.load(out / "uids.npy")) < 60


def test_the_output_can_be_released(tmp_path: Path) -> None:
    source = captions_tree(tmp_path / "in", ["a red house", "a", "a tall tree", "b"])
    keep(source, tmp_path / "out", recipe="datacomp-basic")
    command = ["release", "--input", str(tmp_path / "out"), "--figures", "False"]
    assert cli.run([*command, "--output_folder", str(tmp_path / "release")]) == 0
    part = next((tmp_path / "release").glob("part-*.parquet"))
    assert pq.read_table(part)["TEXT"].to_pylist() == ["a red house", "a tall tree"]
    assert "few_words" in (tmp_path / "release/README.md").read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"recipe": "metaclip"}, "--recipe metaclip needs 1 flag more: --concepts"),
        ({"recipe": "datacomp-text"}, "needs 2 flags more: --wordnet, --synsets"),
        ({"recipe": "laion2b", "concepts": "f"}, "--concepts goes with --recipe metaclip"),
        ({"where": "true", "synsets": "f"}, "--synsets goes with --recipe datacomp-text"),
        ({"recipe": "datacomp-clip-30", "keep_top": 0.2}, "is a share already"),
        ({"recipe": "metaclip", "concepts": "none.json"}, "none.json cannot be read: no such"),
        ({"recipe": "metaclip", "concepts": "empty.txt"}, "has no entries"),
        ({"recipe": "metaclip", "concepts": "numbers.json"}, "must be a list of texts"),
        ({"recipe": "datacomp-text", "wordnet": "none", "synsets": "empty.txt"}, "no WordNet IDs"),
        ({"recipe": "datacomp-text", "wordnet": "none", "synsets": "numbers.json"}, "no WordNet"),
        ({"recipe": "datacomp-text", "wordnet": "none", "synsets": "ids.txt"},
         "none/index.noun cannot be read"),
        ({"recipe": "datacomp-image", "centroids": ("wide.npy",), "targets": ("good.npy",)},
         "--targets have 8 numbers each, --centroids 9"),
        ({"recipe": "datacomp-image", "centroids": ("wide.npy",), "targets": ("wide.npy",)},
         "--centroids have 9 numbers each, and .* has 8"),
        ({"recipe": "datacomp-image", "centroids": ("ids.txt",), "targets": ("good.npy",)},
         "ids.txt"),
        ({"recipe": "dfn", "second_scores": "none"}, "--second_scores: .*no such folder"),
        ({"recipe": "dfn", "second_scores": "other"}, "has none of the pairs of .*shard 00000"),
        ({"recipe": "metaclip", "concepts": "ids.txt", "incremental_mode": "extend"},
         "cannot extend a folder"),
        ({"recipe": "metaclip", "concepts": "ids.txt", "concept_limit": 0}, "concept_limit"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(
    flags: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n")
    Path("ids.txt").write_text("n01440764\n")
    Path("numbers.json").write_text("[1, 2]")
    np.save("wide.npy", np.ones((3, 9), np.float32))
    np.save("good.npy", np.ones((3, 8), np.float32))
    source = captions_tree(tmp_path / "in", ["a cat", "a house"])
    write_tree(tmp_path / "other", {0: [row(77)]})
    with pytest.raises(UsageError, match=words) as caught:
        run(FilterOptions(input=str(source), output_folder="out", processes_count=1, **flags))
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("out").exists()
