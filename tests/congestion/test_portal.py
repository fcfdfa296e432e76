"""Portals by their pages."""

from __future__ import annotations

from random import Random

import pytest

from img2ds.congestion.portal import BELIEVED, PortalWatch, page_of

PAGE = page_of("not_an_image", b"<html>pay here</html>", "")
OTHER = page_of("not_an_image", b"<html>gone</html>", "")


def test_the_page_of_three_hosts_is_a_portals() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    watch.add_image(0.0, "z")
    assert [watch.add_page(1.0, host, PAGE) for host in "abcd"] == [False, False, True, True]


def test_the_page_of_one_host_is_its_own() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    assert not any(watch.add_page(1.0, "a", PAGE) for _ in range(10))


def test_a_page_among_images_is_a_parking_services() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    found = []
    for number in range(20):
        watch.add_image(1.0, f"good{number}")
        watch.add_image(1.0, f"better{number}")
        found.append(watch.add_page(1.0, f"parked{number}", PAGE))
    assert not any(found)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_pages_that_come_together_by_chance_are_no_portals(share: float) -> None:
    """A busy worker has many responses before time tells that the page is an ordinary one."""
    assert PAGE is not None
    watch, random = PortalWatch(), Random(0)
    for number in range(1000):
        if random.random() < share:
            assert not watch.add_page(1.0 + number / 1000, f"parked{number}", PAGE)
        else:
            watch.add_image(1.0 + number / 1000, f"good{number}")
    # A portal with that page is noticed all the same.
    assert any(watch.add_page(2.0, f"{number}", PAGE) for number in range(40))


def test_pages_long_ago_do_not_count() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    assert not any(watch.add_page(20.0 * number, f"{number}", PAGE) for number in range(9))


def test_without_an_image_before_it_is_believed_for_a_while() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    found = [watch.add_page(float(second), f"{second}", PAGE) for second in range(300)]
    assert found.index(True) == 2
    assert found[2:] == [True] * int(BELIEVED) + [False] * (298 - int(BELIEVED))


def test_a_host_that_gave_an_image_makes_it_certain() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    watch.add_image(0.0, "good")
    for second in range(1, 3):
        watch.add_page(float(second), f"{second}", PAGE)
    assert watch.add_page(3.0, "good", PAGE)
    assert all(watch.add_page(float(second), f"{second}", PAGE) for second in range(4, 1800, 2))


def test_a_page_that_comes_while_others_give_images_is_ordinary() -> None:
    """Such as that of a parking service, whose domains stand together in a sorted list."""
    assert PAGE is not None
    watch = PortalWatch()
    assert [watch.add_page(1.0, host, PAGE) for host in "abc"] == [False, False, True]
    watch.add_image(1.5, "under way")
    assert watch.add_page(1.6, "d", PAGE)
    watch.add_image(3.0, "good")
    assert not any(watch.add_page(3.1, host, PAGE) for host in "efghi")


def test_the_page_for_removed_images_is_ordinary() -> None:
    """All hosts of an image service give images, and one page for what was removed."""
    assert PAGE is not None
    watch = PortalWatch()
    hosts = "abcdefghij"
    found = []
    for number in range(200):
        now, host = number / 10, hosts[number % 10]
        if number % 5 < 2:
            found.append(watch.add_page(now, host, PAGE))
        else:
            watch.add_image(now, host)
    assert not any(found)
    # At the end of a list only such rows are left.
    assert not any(watch.add_page(20.0 + n / 10, hosts[n % 10], PAGE) for n in range(100))


def test_a_certain_page_that_goes_on_after_images_is_ordinary() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    for host in "abc":
        watch.add_image(0.0, host)
    assert [watch.add_page(5.0, host, PAGE) for host in "abc"] == [False, False, True]
    watch.add_image(9.0, "a")
    assert watch.add_page(10.0, "b", PAGE)  # may have been under way
    assert not watch.add_page(11.0, "b", PAGE)


def test_a_portal_may_come_back() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    for start in (0.0, 100.0):
        for host in "abc":
            watch.add_image(start, host)
        found = [watch.add_page(start + 5.0, host, PAGE) for host in "abc"]
        assert found == [False, False, True]
        watch.add_image(start + 30.0, "a")


def test_the_pages_of_a_portal_do_not_hide_that_it_comes_back() -> None:
    assert PAGE is not None
    watch = PortalWatch()
    for start in (0.0, 100.0):
        for number in range(100):
            watch.add_image(start, f"{number}")
        found = [watch.add_page(start + 5.0, f"{number}", PAGE) for number in range(200)]
        assert found == [False, False, *[True] * 198]
        watch.add_image(start + 30.0, "1")


def test_redirects_to_one_host_are_one_page() -> None:
    first = page_of("not_an_image", b"<html>for a</html>", "login.example")
    assert first == page_of("not_an_image", b"<html>for b</html>", "login.example")
    assert PAGE != OTHER


def test_an_image_that_is_refused_is_no_page() -> None:
    assert page_of("image_too_small", b"GIF89a", "") is None
    assert page_of("http_404", b"", "") is None
