"""Lookup tables of profiles: those that are in the file are used, others are not looked for."""

from __future__ import annotations

import pytest
from PIL import ImageCms

from img2ds.image import icc
from img2ds.image.icc_tables import has_its_tables
from tests.image.icc_profiles import grey_profile, rgb_profile, table_profile

#: Bytes of a sample, by the type of a tag.
KINDS = {b"mft1": 1, b"mft2": 2, b"mAB ": 2, b"mpet": 4}


def table(kind: bytes, points: int) -> bytes:
    return bytes(index * 37 % 200 for index in range(points**3 * 3 * KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", [2, 5])
def test_tables_that_are_there(kind: bytes, points: int) -> None:
    profile = table_profile(kind, points, table(kind, points))
    assert has_its_tables(profile)
    if kind in (b"mft1", b"mft2"):  # littleCMS reads these as they are
        assert icc.conversion(profile, 3) is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", [40, 255])
def test_tables_that_are_not(kind: bytes, points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By 400 bytes littleCMS would fill 100 MB in two seconds."""
    monkeypatch.setattr(ImageCms, "buildTransform", None)
    profile = table_profile(kind, points, table(kind, 2))
    assert not has_its_tables(profile)
    assert icc.conversion(profile, 3) is None


def test_profiles_without_tables() -> None:
    assert has_its_tables(rgb_profile())
    assert has_its_tables(grey_profile(2.2))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert has_its_tables(srgb)


def test_profiles_that_are_cut() -> None:
    profile = table_profile(b"mft2", 5, table(b"mft2", 5))
    for end in range(len(profile)):
        whole = has_its_tables(profile[:end])
        if len(profile) - 500 < end < len(profile) - 80:
            assert not whole
