"""Compiled lists: read once, kept by their content, and one line for what is wrong with a file."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from img2ds.blocklist import compiled
from img2ds.blocklist.blocks import Blocks, CompiledLists, block_lists, require_hashes
from img2ds.blocklist.compiled import BlockList
from img2ds.config.options import NetworkOptions
from img2ds.core.failure import UsageError
from img2ds.storage.cache import KEPT, cache_folder

BODY = b"an image, for all that a hash knows"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMG2DS_CACHE", str(tmp_path / "cache"))


def written(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def blocks(**flags: str) -> Blocks:
    given: dict[str, Any] = {name: (path,) for name, path in flags.items()}
    made = Blocks(block_lists(NetworkOptions(**given)))
    made.open()
    return made


def test_urls_and_hosts(tmp_path: Path) -> None:
    urls = written(tmp_path / "u.txt", "# of 2026", "", "http://a.example/bad.jpg")
    hosts = written(tmp_path / "h.txt", "*.bad.example")
    made = blocks(block_urls=urls, block_hosts=hosts)

    def reason(url: str) -> str | None:
        failed = made.judge_text(url)
        return None if failed is None else failed.reason

    assert reason("https://a.example/bad.jpg") == "blocklisted_url"
    assert reason("http://a.example/good.jpg") is None
    assert reason("http://img.BAD.example/good.jpg") == "blocklisted_host"
    assert reason("http://bad.example:8080/") == "blocklisted_host"
    assert reason("http://notbad.example/") is None
    assert reason("no URL") is reason("") is None


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_hashes(tmp_path: Path, kind: str) -> None:
    found = hashlib.new(kind, BODY).hexdigest()
    made = blocks(block_hashes=written(tmp_path / "list", found))
    assert made.judge_body(BODY) is not None
    assert made.judge_body(BODY, kind, found) is not None
    assert made.judge_body(BODY, "sha512", "0" * 128) is not None
    assert made.judge_body(BODY + b" ") is None
    values = [found, None, "", "no hash", found[:-1] + "g", found.upper(), "0" * len(found)]
    assert made.blocked_hashes(values, kind).tolist() == [True, *[False] * 4, True, False]


def test_pdq_hashes_beside_others(tmp_path: Path) -> None:
    pdq = "f0" * 32
    listed = written(tmp_path / "list", f"PDQ:{pdq},100", hashlib.md5(BODY).hexdigest())
    made = blocks(block_hashes=listed)
    assert made.hash_kinds == ("md5", "pdq")
    assert made.judge_body(BODY) is not None
    near, far = "0f" * 3 + "f0" * 29, "0f" * 4 + "f0" * 28  # 24 bits, and 32
    assert [made.judge_pdq(bytes.fromhex(each)) is None for each in (near, far)] == [False, True]
    values = [pdq, None, "no hash", near, far]
    assert made.blocked_hashes(values, "pdq").tolist() == [True, False, False, True, False]
    lists = CompiledLists.of(block_lists(NetworkOptions(block_hashes=(listed,))))
    assert (str(lists), [*lists.identity()]) == ("2 hashes", ["block_hashes", "block_pdq"])
    with pytest.raises(UsageError, match=r"has PDQ hashes, .* no column pdq: .* --compute_pdq,"):
        require_hashes(lists, ["md5"], "the table")


def test_several_files_of_one_kind(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.gz").write_bytes(gzip.compress(b"c.example\r\nd.example"))
    one = written(tmp_path / "one.txt", "a.example", "b.example")
    made = CompiledLists.of(block_lists(NetworkOptions(block_hosts=(one, str(tmp_path / "more")))))
    assert made.compiled["hosts"].count == 4
    assert str(made) == "4 hosts"


@pytest.mark.parametrize(
    ("flag", "line", "words"),
    [
        ("block_hashes", "xyz", "line 2: 'xyz' is neither an MD5"),
        ("block_hashes", "pdq:" + "0" * 63, "is not a PDQ hash (64 hex digits)"),
        ("block_urls", "http://", "line 2: 'http://' is not a URL"),
        ("block_hosts", "http://a.example/", "line 2: 'http://a.example/' is not a host"),
        ("block_hosts", "x" * 999, "line 2: '" + "x" * 60 + "...' is not a host"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, flag: str, line: str, words: str) -> None:
    path = written(tmp_path / "list.txt", "# comment", line)
    with pytest.raises(UsageError, match=f"^--{flag}: .*list.txt, ") as error:
        blocks(**{flag: path})
    assert words in str(error.value)
    assert not [
        path for path in cache_folder("blocklists").glob("*.digests") if path.stat().st_size
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^--block_urls: there is no file or folder .*missing\.txt"
    ):
        blocks(block_urls=str(tmp_path / "missing.txt"))


def test_a_list_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "list", "a.example")
    first = BlockList("block_hosts", "hosts", (path,)).compile()
    monkeypatch.setattr(compiled, "write_digests", None)  # a second writing would fail
    assert BlockList("block_hosts", "hosts", (path,)).compile() == first


def test_a_list_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "list", "a.example")
    assert blocks(block_hosts=path).judge_text("http://b.example/") is None
    written(tmp_path / "list", "b.example")
    assert blocks(block_hosts=path).judge_text("http://b.example/") is not None


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "list", "a.example")
    cached = BlockList("block_hosts", "hosts", (path,)).compile().path
    cached.write_bytes(b"")
    assert blocks(block_hosts=path).judge_text("http://a.example/") is not None


def test_the_identity_is_that_of_the_entries(tmp_path: Path) -> None:
    one = written(tmp_path / "one", "a.example", "b.example")
    other = written(tmp_path / "other", "# sorted otherwise", "b.example", "A.example", "b.example")
    third = written(tmp_path / "third", "a.example")
    found = [
        CompiledLists.of([BlockList("block_hosts", "hosts", (path,))]).identity()
        for path in (one, other, third)
    ]
    assert found[0] == found[1] != found[2]


def test_what_nobody_uses_is_removed(tmp_path: Path) -> None:
    lists = [written(tmp_path / name, f"{name}.example") for name in "ab"]
    old = BlockList("block_hosts", "hosts", (lists[0],)).compile().path
    os.utime(old, (0, old.stat().st_mtime - KEPT - 1))
    new = BlockList("block_hosts", "hosts", (lists[1],)).compile().path
    assert not old.exists()
    assert new.exists()


def test_hashes_that_a_table_lacks(tmp_path: Path) -> None:
    path = written(tmp_path / "list", hashlib.md5(BODY).hexdigest())
    lists = CompiledLists.of([BlockList("block_hashes", "hashes", (path,))])
    require_hashes(lists, ["url", "md5"], "the table")
    with pytest.raises(UsageError, match="has md5 hashes, and the table has no column md5"):
        require_hashes(lists, ["url", "sha256"], "the table")
