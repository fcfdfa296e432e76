"""How many rows of a host started in the last seconds, and how many it accepted and refused."""

from __future__ import annotations

from img2ds.congestion.host_table import BUCKET, BUCKETS, Field


class HostResponses:
    """Counts the responses of all hosts by time; see `HostTable` for `fields` and `at`."""

    def __init__(self, fields: memoryview[float]) -> None:
        self._fields = fields

    def count(self, at: int, field: int, now: float) -> None:
        """Count a row: `Field.STARTED`, `Field.ACCEPTED` or `Field.REFUSED`."""
        fields = self._fields
        bucket = int(now / BUCKET)
        number = at + bucket % BUCKETS
        if fields[number + Field.BUCKET_TIMES] != bucket:
            fields[number + Field.BUCKET_TIMES] = bucket
            fields[number + Field.ACCEPTED] = fields[number + Field.REFUSED] = 0.0
            fields[number + Field.STARTED] = 0.0
        fields[number + field] += 1.0

    def accepted(self, at: int, since: float) -> float:
        """Return how many rows were accepted since then, `BUCKET` * `BUCKETS` seconds at most."""
        return self._since(at, Field.ACCEPTED, since)

    def taken(self, at: int, now: float) -> float:
        """Return how many rows started in one second lately and were not refused, or not yet."""
        fields, last = self._fields, int(now / BUCKET)
        starts = [0.0] * BUCKETS
        for number in range(at, at + BUCKETS):
            age = last - int(fields[number + Field.BUCKET_TIMES])
            if 0 <= age < BUCKETS:
                starts[age] = fields[number + Field.STARTED]
        second = round(1 / BUCKET)
        most = max(sum(starts[age : age + second]) for age in range(BUCKETS - second + 1))
        return most - self._since(at, Field.REFUSED, now - 1.0)

    def _since(self, at: int, field: int, since: float) -> float:
        fields, first = self._fields, int(since / BUCKET)
        return sum(
            fields[number + field]
            for number in range(at, at + BUCKETS)
            if fields[number + Field.BUCKET_TIMES] >= first
        )

    def share_refused(self, at: int) -> float:
        """Return the share of refusals among the last responses."""
        fields = self._fields
        newest = max(fields[at + Field.BUCKET_TIMES : at + Field.BUCKET_TIMES + BUCKETS])
        accepted = refused = 0.0
        for number in range(at, at + BUCKETS):
            if fields[number + Field.BUCKET_TIMES] > newest - BUCKETS:
                accepted += fields[number + Field.ACCEPTED]
                refused += fields[number + Field.REFUSED]
        return refused / max(accepted + refused, 1.0)
