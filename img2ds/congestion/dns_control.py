"""(replaced)"""

from img2ds.congestion.machine import Floats


class DnsControl:
    window = 64.0
    rate = 0.0
    answered_rate = 0.0

    def update(self, now: float, totals: Floats) -> None: ...

    def restart(self) -> None: ...
