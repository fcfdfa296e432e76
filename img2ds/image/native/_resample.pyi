from img2ds.image.orient import Pixels

AREA: int
LANCZOS: int

def resample(source: Pixels, target: Pixels, kernel: int) -> None: ...
