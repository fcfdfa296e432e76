from img2ds.image.orient import Pixels

AREA: int
LANCZOS: int

def resample_planes(
    pairs: tuple[tuple[Pixels, Pixels], ...],
    kernel: int,
    rows: tuple[int, int, int, int, int, int, bool],
    columns: tuple[int, int, int, int, int, int, bool],
    swap: bool,
) -> None: ...
