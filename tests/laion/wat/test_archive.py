"""Records of whole and damaged files, read in pieces of any size."""

from __future__ import annotations

import gzip
import io
from random import Random

import pytest

from img2ds.core.failure import UsageError
from laion.wat import archive
from laion.wat.archive import TruncatedError, read_records
from laion.wat.warc import RecordSplitter
from tests.laion.wat.wat_records import record

COUNT = 120
BLOCKS = [
    b'{"n":%03d,"x":"%s"}' % (n, Random(n).randbytes(60 + n // 2 % 3 * 200).hex().encode())
    for n in range(COUNT)
]
RECORDS = [record(block) for block in BLOCKS]
MEMBERS = [gzip.compress(one, mtime=0) for one in RECORDS]


@pytest.fixture(params=[700, 1 << 13, 1 << 22], autouse=True)
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "CHUNK", request.param)


@pytest.fixture(params=[True, False])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With the compiled loops and libdeflate, and without both."""
    if not request.param:
        monkeypatch.setattr(archive, "_cut", archive._no_cut)
        monkeypatch.setattr(archive, "_find_magic", archive._search)
        monkeypatch.setattr(archive, "_deflate", None)
    return bool(request.param)


def read(data: bytes) -> list[bytes | None]:
    return [
        None if one is None else bytes(one[0][one[1] : one[2]])
        for one in read_records(io.BytesIO(data))
    ]


def read_truncated(data: bytes) -> list[bytes | None]:
    """The records before the missing end."""
    records = read_records(io.BytesIO(data))
    found: list[bytes | None] = []

    def read_on() -> None:
        for one in records:
            found.append(None if one is None else bytes(one[0][one[1] : one[2]]))  # noqa: PERF401

    with pytest.raises(TruncatedError):
        read_on()
    return found


@pytest.mark.usefixtures("compiled")
def test_members_a_single_member_and_plain_bytes() -> None:
    assert read(b"".join(MEMBERS)) == BLOCKS
    assert read(gzip.compress(b"".join(RECORDS))) == BLOCKS
    assert read(b"".join(RECORDS)) == BLOCKS
    assert read(b"".join(MEMBERS) + bytes(1000)) == BLOCKS


def test_other_records_are_empty() -> None:
    info = gzip.compress(record(b"ip: 1", "application/warc-fields"))
    assert read(info + MEMBERS[0]) == [b"", BLOCKS[0]]


def changed(member: bytes, way: str) -> bytes:
    middle = len(member) // 2
    return {
        "data": member[:middle] + bytes([member[middle] ^ 0x55]) + member[middle + 1 :],
        "checksum": member[:-8] + b"\1\2\3\4" + member[-4:],
        "size": member[:-4] + b"\xff\xff\xff\xff",
        "magic": b"\0" + member[1:],
        "cut": member[:middle],
        "head": gzip.compress(b"WARC/1.0\r\nContent-Type: application/json\r\n\r\n{}"),
        "length": gzip.compress(RECORDS[0].replace(b"Content-Length: ", b"Content-Length: 9")),
    }[way]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("at", [0, 50, COUNT - 1])
@pytest.mark.parametrize("way", ["data", "checksum", "size", "magic", "cut", "head", "length"])
def test_a_damaged_member_costs_itself(way: str, at: int) -> None:
    if at == 0 and way == "magic":
        pytest.skip("then it is no gzip file")
    members = [*MEMBERS]
    members[at] = changed(members[at], way)
    is_last = at == COUNT - 1
    taken = (read_truncated if way == "cut" and is_last else read)(b"".join(members))
    assert taken == [*BLOCKS[:at], None, *BLOCKS[at + 1 :]]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("left", [1, 2, 3, 10, 17, 18, 60, -1])
def test_a_file_without_its_end(left: int) -> None:
    """Wherever the last member is cut, also within its magic number."""
    data = b"".join(MEMBERS[:-1])
    assert read_truncated(data + MEMBERS[-1][:left]) == [*BLOCKS[:-1], None]
    assert read(data) == BLOCKS[:-1], "nothing tells that a whole member is missing"


def test_damage_anywhere_loses_no_other_record() -> None:
    whole = b"".join(MEMBERS)
    for seed in range(250):
        dice = Random(seed)
        data = bytearray(whole)
        at = dice.randrange(3, len(data))
        size = dice.randint(1, 30)
        match seed % 3:
            case 0:
                data[at] ^= dice.randint(1, 255)
            case 1:
                del data[at : at + size]
            case _:
                data[at:at] = dice.randbytes(size)
        found = read(bytes(data))
        sound = [one for one in found if one is not None]
        assert sound == [block for block in BLOCKS if block in sound], seed
        # Damage may lie on the border of two members.
        assert len(sound) >= COUNT - 2, seed
        assert len(sound) == COUNT or None in found, seed


def test_a_magic_number_inside_compressed_data_is_not_a_boundary() -> None:
    packed = gzip.compress(record(b'{"x":"' + archive.MAGIC * 5 + b'"}'), compresslevel=0)
    assert packed.count(archive.MAGIC) == 6
    assert len(read(MEMBERS[0] + packed + MEMBERS[1])) == 3


def test_plain_damage_costs_its_record() -> None:
    records = [*RECORDS]
    records[5] = records[5].replace(b"Content-Length: ", b"Content-Length: x")
    assert read(b"".join(records)) == [*BLOCKS[:5], None, *BLOCKS[6:]]
    assert read_truncated(b"".join(RECORDS)[:-30]) == [*BLOCKS[:-1], None]


@pytest.mark.parametrize(("data", "words"), [(b"", "empty"), (b"<html>", "not a WAT file")])
def test_invalid_wat_files(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(data)


def test_memory_does_not_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file without end no more is read than the records taken need."""
    monkeypatch.setattr(archive, "CHUNK", 1 << 12)

    class Endless:
        taken = 0

        def read(self, size: int) -> bytes:
            self.taken += size
            return (MEMBERS[0] * (size // len(MEMBERS[0]) + 1))[
                : size // len(MEMBERS[0]) * len(MEMBERS[0])
            ]

    file = Endless()
    records = read_records(file)
    for _ in range(100):
        next(records)
    assert file.taken < 100 * len(MEMBERS[0]) + (1 << 14)


def test_records_are_found_after_damage_whatever_the_pieces() -> None:
    data = RECORDS[0] + b"damage" * 5 + b"\r\n" + RECORDS[1]
    splitter = RecordSplitter()
    found = [one for byte in data for one in splitter.feed(bytes([byte]))]
    blocks = [None if one is None else bytes(one[0][one[1] : one[2]]) for one in found]
    assert blocks == [BLOCKS[0], None, BLOCKS[1]]
    assert list(splitter.close()) == []
