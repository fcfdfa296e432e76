"""What AV1 data state of their frames in sequence headers (AV1 specification, 5.3 and 5.5)."""

from __future__ import annotations

from dataclasses import dataclass

_SEQUENCE_HEADER = 1
_FRAMES = (3, 6)  # a header alone, and one with its data
#: Most units that are read, and bytes of a sequence header.
_MAX_UNITS, _MAX_HEADER = 1000, 1000


@dataclass(slots=True)
class Sequence:
    """What the units of a stream state.

    Attributes:
        sizes: width and height of each sequence header: no frame is larger.
        frame_bytes: the most that a decoder has of a frame.
        frames: how many there are, shown or not.
    """

    sizes: list[tuple[int, int]]
    frame_bytes: int = 0
    frames: int = 0
    units: int = 0


def read_sequence(data: bytes | memoryview) -> Sequence | None:
    """Read a stream; None if it has too many units.

    Raises:
        IndexError: the data end.
    """
    at = 0
    sequence = Sequence([])
    while at < len(data):
        sequence.units += 1
        if sequence.units > _MAX_UNITS:
            return None
        head = data[at]
        at += 2 if head & 4 else 1
        size = len(data) - at
        if head & 2:
            size, at = _leb128(data, at)
        kind = head >> 3 & 15
        if kind == _SEQUENCE_HEADER:
            header = data[at : min(at + size, at + _MAX_HEADER)]
            width, height, quarters = _read_header(_Bits(header))
            sequence.sizes.append((width, height))
            sequence.frame_bytes = max(sequence.frame_bytes, width * height * quarters // 4)
        sequence.frames += kind in _FRAMES
        at += size
    return sequence


def _leb128(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 56, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            break
    return value, at


class _Bits:
    """Bits, the most significant first."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << count) - 1


def _read_header(bits: _Bits) -> tuple[int, int, int]:
    """Read a sequence header up to the kind of samples (5.5.1, 5.5.2).

    Returns:
        The largest width and height, and the bytes that a decoder has of four pixels.
    """
    read = bits.read
    profile = read(3)
    read(1)  # whether it is a still picture
    reduced = read(1)  # its header is
    if reduced:
        read(5)
    else:
        _skip_operating_points(bits)
    across, down = read(4) + 1, read(4) + 1
    width, height = read(across) + 1, read(down) + 1
    if not reduced and read(1):  # numbers of frames
        read(7)
    read(3)
    if not reduced:
        _skip_tools(bits)
    scaled = read(1)  # up, from a second frame
    read(2)
    wide = read(1)
    # Grey, 4:2:0, or up to 4:4:4.
    samples = 12 if profile else 4 if read(1) else 6
    return width, height, samples << wide << scaled


def _skip_tools(bits: _Bits) -> None:
    read = bits.read
    read(4)
    order = read(1)
    if order:
        read(2)
    screen = 2 if read(1) else read(1)
    if screen and not read(1):
        read(1)
    if order:
        read(3)


def _skip_operating_points(bits: _Bits) -> None:
    read = bits.read
    delay = 0
    if read(1):  # timing
        read(64)
        if read(1):
            zeros = 0
            while not read(1):
                zeros += 1
            read(zeros if zeros < 32 else 0)
        if read(1):  # the decoder's model
            delay = read(5) + 1
            read(42)
    initial_delay = read(1)
    for _ in range(read(5) + 1):
        read(12)
        if read(5) > 7:
            read(1)
        if delay and read(1):
            read(2 * delay + 1)
        if initial_delay and read(1):
            read(4)
