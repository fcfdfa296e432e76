"""Whether short texts are English: the compiled part and Python, and what the model says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion.wat import english
from laion.wat.english import MAX_TEXT, EnglishModel, encode, hashes
from laion.wat.language import UNKNOWN, detect_caption, detect_cld2
from laion.wat.native import load

MODEL = EnglishModel()


@given(st.text(max_size=600) | st.text("aB Éß'\u2019\u3000\u3042\U0001f600-9", max_size=300))
def test_the_compiled_part_finds_what_python_finds(text: str) -> None:
    compiled = load("english")
    if compiled is None:
        pytest.skip("needs the compiled part")
    weights = np.arange(256, dtype=np.uint8).view(np.int8)
    data = encode(text)
    assert compiled.score(data, weights) == english._sum(data, weights)
    assert len(data) <= MAX_TEXT


def test_weights_that_are_no_power_of_two_are_refused() -> None:
    compiled = load("english")
    if compiled is None:
        pytest.skip("needs the compiled part")
    for size in (0, 3):
        with pytest.raises(ValueError, match="power of two"):
            compiled.score(b"word", np.zeros(size, np.int8))


def test_ngrams_are_those_of_words_between_spaces() -> None:
    # " ab ": 3 of two bytes, 2 of three, 1 of four, and the word.
    assert len(list(hashes(b"ab"))) == 7
    apart = sorted(hashes(encode("Ab \u201cCD\u201d 12 \u2013 !")))
    assert apart == sorted([*hashes(b"ab"), *hashes(b"cd")])
    assert list(hashes(b"12 - !")) == []


@pytest.mark.parametrize(
    "text",
    ["Red car", "wooden chair", "Blue Dress", "Sunset over the lake", "Men's Running Shoes",
     "black cat", "Kitchen ideas", "2019 Ford Mustang for sale"],
)  # fmt: skip
def test_english_of_a_few_words_is_recognised(text: str) -> None:
    assert detect_caption(text) == "en"


@pytest.mark.parametrize(
    "text",
    ["das rote Auto", "une chaise en bois", "vestido azul", "tramonto sul lago", "zwarte kat",
     "czerwony samochód", "mavi elbise", "röd bil", "красная машина", "赤い車", "سيارة حمراء"],
)  # fmt: skip
def test_other_languages_are_not(text: str) -> None:
    assert detect_caption(text) != "en"


def test_other_languages_are_named_by_cld2() -> None:
    german = "Ein rotes Auto steht vor dem Haus am Ende der Straße"
    assert detect_caption(german) == detect_cld2(german) == "de"


@pytest.mark.parametrize("text", ["", "12345", "\u2013 \u2122 \U0001f600", "IMG_0042.JPG 4:3"])
def test_texts_without_words_are_unknown(text: str) -> None:
    assert detect_cld2(text) == UNKNOWN
    assert detect_caption(text) in (UNKNOWN, "en")
    assert MODEL.log_odds("12345") == float("-inf")
