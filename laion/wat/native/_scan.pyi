from laion.wat.plain import Found

def scan(
    record: bytes | bytearray, start: int, end: int, attributes: tuple[bytes, ...]
) -> Found | None: ...
