"""Words of captions: folding, inflections, look-alikes, and the lists of the package."""

from __future__ import annotations

import json
import pickle
from importlib.resources import files

import pytest

from laion.tag.caption_words import CaptionWords, WordList, fold
from laion.tag.prompts import load_prompts

LISTS = CaptionWords(["kid", "child*", "small one", "子供"], ["nud*", "porn"])
OWN = load_prompts().words
LANGUAGES = json.loads(files("laion.tag").joinpath("caption_words.json").read_text("utf-8"))


@pytest.mark.parametrize(
    "caption",
    [
        "nude kid", "KID, NUDE", "children_nudity", "2nude 3kids kid", "a small one, nude",
        "\uff4e\uff55\uff44\uff45 \uff4b\uff49\uff44",  # full-width letters
        "nu\u0301de kid", "nu\u00adde k\u200bid",  # accents, invisible characters
        "n\u0443de kid".replace("\u0443", "u"), "p\u043ern k\u0456d",  # Cyrillic o, i
        "p0rn k1d", "nude 子供たち",
    ],
)  # fmt: skip
def test_captions_with_a_word_of_both_lists(caption: str) -> None:
    assert LISTS.flags(caption)


@pytest.mark.parametrize(
    "caption",
    ["a kid", "nude", "kidney and nude", "anude kid", "kids nude".replace("kids", "kidx"), "",
     "small ones, nude", "100 $ for 3 porns"],
)  # fmt: skip
def test_other_captions(caption: str) -> None:
    assert not LISTS.flags(caption)


def test_folding() -> None:
    assert fold("ÉCOLE Straße ŁÓDŹ ÇIPLAK") == "ecole strasse lodz ciplak"
    assert fold("ребёнок") == fold("РЕБЕНОК")
    assert fold("어린이") == "어린이"
    assert fold("ABC") == "abc"


def test_entries_are_folded_too() -> None:
    entries = WordList(["Garçon*", "ÉTÉ", "für immer"])
    assert "garcons" in entries
    assert "ete" in entries
    assert "et" not in entries
    assert entries.is_in("das ist fur immer so", ["das", "ist", "fur", "immer", "so"])


def test_empty_lists_flag_nothing() -> None:
    assert not CaptionWords([], []).flags("nude kid")
    assert not CaptionWords(["kid"], []).flags("nude kid")


def test_lists_go_to_the_workers() -> None:
    assert LISTS.flags("nude kid")
    assert pickle.loads(pickle.dumps(LISTS)).flags("nude kid")


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_entry_of_a_language_is_found(language: str) -> None:
    """Each word of one list beside each of the other, in both orders and in capital letters."""
    lists = LANGUAGES[language]
    underage, unsafe = ([e.replace("*", "") for e in lists[key]] for key in ("underage", "unsafe"))
    for word in underage:
        assert OWN.flags(f"{word}, {unsafe[0]}"), word
        assert OWN.flags(f"{unsafe[-1]} - {word}".upper()), word
    for word in unsafe:
        assert OWN.flags(f"{word} {underage[0]}"), word
        assert not OWN.flags(f"{word} 2019"), word


@pytest.mark.parametrize(
    "caption",
    [
        "nackte Mädchen", "голые девочки", "обнаженный подросток", "niñas desnudas",
        "petite fille nue", "bambine nude", "meninas nuas", "naakte kinderen", "nagie dziecko",
        "裸の少女", "裸体的女孩", "알몸 소녀들", "çıplak çocuklar", "ภาพเปลือยเด็ก", "أطفال عراة",
        "naken flicka", "gyerekek meztelenül", "nahé děti", "γυμνά παιδιά", "trẻ em khỏa thân",
    ],
)  # fmt: skip
def test_planted_captions(caption: str) -> None:
    assert OWN.flags(caption)
    assert OWN.flags(f"{caption} 0123 (hd)")


@pytest.mark.parametrize(
    "caption",
    [
        "a red barn in the snow", "kind regards", "Girls' sexy-free summer shoes", "boy with a dog",
        "голова девочки", "Kinderzimmer Möbel weiß", "Essex boys grammar school",
        "nuclear family, kids",
        "minor league baseball", "Middlesex county child care", "детали машины",
        "nude lipstick", "sous-sol pour enfants", "Sextant for young sailors",
    ],
)  # fmt: skip
def test_ordinary_captions_are_kept(caption: str) -> None:
    assert not OWN.flags(caption)
