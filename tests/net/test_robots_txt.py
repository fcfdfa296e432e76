"""robots.txt: RFC 9309's rules and examples, and files that are hostile."""

from __future__ import annotations

import pytest

from img2ds.net.robots_txt import MAX_BYTES, MAX_RULES, Rules, normalized, parse_robots

OURS = frozenset({"img2ds", "img2dataset"})


def allows(text: str | bytes, target: str) -> bool:
    data = text.encode() if isinstance(text, str) else text
    return parse_robots(data, OURS).allows(target)


#: RFC 9309 5.1, with our name in place of one of its bots.
SIMPLE = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: img2ds
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("target", "expected"),
    [("/example/page.html", False), ("/example/x.gif", True), ("/x.gif", True), ("/", True)],
)
def test_our_group_counts_alone(target: str, expected: bool) -> None:
    assert allows(SIMPLE, target) is expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/x.gif", False), ("/x.gif?v=1", True), ("/example/", False), ("/example", True),
        ("/publications/x.gif", True), ("/publications/x.jpg", True),
    ],
)  # fmt: skip
def test_without_our_name_the_group_for_all_counts(target: str, expected: bool) -> None:
    assert allows(SIMPLE.replace("img2ds", "otherbot"), target) is expected


@pytest.mark.parametrize(
    ("rules", "target", "expected"),
    [
        # The longest match decides, and of two as long the one that allows (2.2.2, 5.2).
        ("Allow: /example/page/\nDisallow: /example/page/disallowed.gif",
         "/example/page/disallowed.gif", False),
        ("Disallow: /page\nAllow: /page", "/page.jpg", True),
        ("Disallow: /\nAllow: /p", "/page", True),
        ("Allow: /page\nDisallow: /*.htm", "/page.htm", False),
        ("Allow: /$\nDisallow: /", "/", True), ("Allow: /$\nDisallow: /", "/x", False),
        # Special characters (2.2.3).
        ("Disallow: *.jpg", "/a/b.jpg", False), ("Disallow: *.jpg$", "/a.jpg?x", True),
        ("Disallow: /a*b*c", "/axxbxxc/d", False), ("Disallow: /a*b*c", "/axxcxxb", True),
        ("Disallow: /a*b$", "/a/b/b", False), ("Disallow: /ab*b$", "/ab", True),
        ("Disallow: /*", "/x", False), ("Disallow: /x$", "/x", False),
        ("Disallow: /x$y", "/x$y.jpg", False), ("Disallow: **", "/", False),
        # A query is a part of what is matched.
        ("Disallow: /*?", "/x?y", False), ("Disallow: /*?", "/x", True),
        # Escapes (2.2.2): the table of the RFC.
        ("Disallow: /foo/bar?baz=quz", "/foo/bar?baz=quz", False),
        ("Disallow: /foo/bar?baz=http://foo.bar", "/foo/bar?baz=http://foo.bar", False),
        ("Disallow: /foo/bar/ツ", "/foo/bar/%E3%83%84", False),
        ("Disallow: /foo/bar/%e3%83%84", "/foo/bar/%E3%83%84", False),
        ("Disallow: /foo/bar/%62%61%7A", "/foo/bar/baz", False),
        ("Disallow: /foo%2Fbar", "/foo/bar", True),
        # Nothing is forbidden by an empty rule; case counts.
        ("Disallow:", "/x", True), ("Disallow: /X", "/x", True), ("", "/x", True),
    ],
)  # fmt: skip
def test_rules(rules: str, target: str, expected: bool) -> None:
    assert allows(f"User-agent: *\n{rules}\n", target) is expected


@pytest.mark.parametrize(
    "text",
    [
        "user-agent: IMG2DS\ndisallow: /", "User-Agent : img2ds/1.0\r\nDISALLOW : /",
        "User-agent: img2ds # us\rDisallow: / # all", "\ufeffUser-agent: img2ds\nDisallow: /",
        "User-agent: other\nUser-agent: img2dataset\nCrawl-delay: 5\nDisallow: /",
        "User-agent: img2ds\nCrawl-delay: 5\nUser-agent: other\nDisallow: /",
        "User-agent: *\nAllow: /\nSitemap: http://x/\nUser-agent: img2ds\nDisallow: /",
        "User-agent: img2ds\nDisallow: /a\nUser-agent: x\nAllow:/\nUser-agent: img2ds\nDisallow:/x",
        "User-agent: img2ds\nno rule at all\n:\nDisallow: /x",
    ],
)  # fmt: skip
def test_forbidden_in_all_of_these_spellings(text: str) -> None:
    assert not allows(text, "/x")


@pytest.mark.parametrize(
    "text",
    [
        "Disallow: /\nUser-agent: other\nDisallow: /", "User-agent: img2ds2\nDisallow: /",
        "User-agent:\nDisallow: /", "<html>User-agent img2ds Disallow /</html>",
        "User-agent: img2ds\nUser-agent: *\nDisallow: /y", "User-agent: img2ds\n\nAllow: /",
    ],
)  # fmt: skip
def test_allowed(text: str) -> None:
    assert allows(text, "/x")


def test_only_the_first_part_of_a_long_file_counts() -> None:
    start = b"User-agent: *\nDisallow: /first\n"
    filler = b"# " + b"x" * (MAX_BYTES - len(start) - 20) + b"\n"
    text = start + filler + b"Disallow: /cut-off-here\nDisallow: /second\n"
    assert not allows(text, "/first")
    assert allows(text, "/cut")
    assert allows(text, "/second")
    assert allows(b"\xff\xfe\x00" * 100_000, "/x")


def test_hostile_patterns_cost_no_more_than_their_length() -> None:
    """With a regular expression this would take years."""
    pattern = "/" + "a*" * 2000 + "b"
    assert allows(f"User-agent: *\nDisallow: {pattern}", "/" + "a" * 60_000)


def test_rules_for_us_are_bounded() -> None:
    lines = "".join(f"Disallow: /{number:05d}\n" for number in range(MAX_RULES + 100))
    rules = parse_robots(f"User-agent: *\n{lines}".encode(), OURS)
    assert len(rules.dump().splitlines()) == MAX_RULES


def test_rules_are_what_was_dumped() -> None:
    rules = parse_robots(SIMPLE.replace("img2ds", "x").encode(), OURS)
    again = Rules.load(rules.dump())
    assert again.dump() == rules.dump()
    assert not again.allows("/example/")
    assert Rules.load(Rules().dump()).allows("/x")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a b", "/a%20b"),
        ("/%7euser", "/~user"),
        ("/%2f", "/%2F"),
        ("/%zz", "/%zz"),
        ("/é", "/%C3%A9"),
    ],
)
def test_one_spelling(path: str, expected: str) -> None:
    assert normalized(path) == expected
