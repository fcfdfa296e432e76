"""How many rows a host may have in progress, and how many may start a second.

Both limits are learned for the whole machine, with a pause where the host asks for one:

* A 429, or a 503 in numbers, cuts the rate to what the host took lately, less a tenth. It then
  grows quickly up to the level that was refused, stays below it for a while, and then grows
  slowly: each refusal costs a pause, and whoever is refused on and on is banned.
* Connections that are reset or refused while others are in progress cut the window to what the
  host bore, in the same manner.
* When nothing is accepted between two cuts, the host is left alone for a time that doubles. Then
  one row asks; when it is accepted, the window opens step by step.
* A host that refuses however long one waits is hopeless: its refusals are failures of the rows.

No I/O and no clock of its own. Times are seconds of the table's clock.
"""

from __future__ import annotations

import math

from img2ds.congestion.host_growth import grow, hold
from img2ds.congestion.host_refusal import Refusal, Refused
from img2ds.congestion.host_responses import HostResponses
from img2ds.congestion.host_table import Field, HostTable

#: Seconds that a host is left alone, by the number of cuts since it last accepted a row. The first
#: is longer than the second by which servers commonly count.
PAUSES = (1.1, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0)
#: Cuts without an accepted row after which a host is hopeless: three minutes; and for one that has
#: never accepted any.
MAX_STREAK, MAX_FIRST_STREAK = 9, 3
#: The same where it says 503 without a time, as a dead backend does.
MAX_VAGUE_STREAK = 4
#: Longest Retry-After in seconds that is waited for.
MAX_RETRY_AFTER = 600.0
#: Seconds after a 429 in which a 403 or a reset may be a ban.
BAN_AFTER = 20.0
#: Share of what was accepted that a cut leaves.
CUT = 0.9
#: Shares of 503 and of resets among the responses below which they may be the URLs'.
BUSY_SHARE, RESET_SHARE = 0.2, 0.1
#: Rows in a row that meet 403 when that is a ban.
MIN_FORBIDDEN = 3
#: Lowest rate that is learned, rows a second.
MIN_RATE = 0.5
#: Seconds over which accepted rows are counted.
MEASURED = 2.0
#: Seconds that rows take where those accepted in that time tell little of what the host takes.
SLOW_ROWS = 2.0
#: Seconds' worth of a rate that start together, so that high rates need few wake-ups.
BURST = 0.02
#: Seconds until a row looks again for room that another worker may have left.
POLL_INTERVAL = 0.05


class HostControl:
    """The limits of all hosts. Call `start` and `leave` for each row, and in between one of
    `accept` and `refuse`.

    Args:
        limit: rows in progress at a host at most; 0 for no limit.
        rate: rows a second that may start at a host; 0 for no limit.
    """

    def __init__(self, table: HostTable, limit: int = 0, rate: float = 0.0) -> None:
        self.table = table
        self._limit: float = limit or math.inf
        self._rate = rate
        self._responses = HostResponses(table.fields)

    def due(self, place: int, now: float) -> float:
        """Return when a row may start: `now`, a later time, or infinity: once one has left."""
        table, fields, at = self.table, self.table.fields, self.table.at(place)
        if now >= table.next_count:
            table.count_workers(now)
        paused_until = fields[at + Field.PAUSED_UNTIL]
        if paused_until > now:
            return paused_until
        limit = self._window(at)
        active = table.active(place)
        if active >= limit or (
            active and table.others_wait(place) and table.own(place) >= self._share(place, limit)
        ):
            return math.inf if table.alone else now + POLL_INTERVAL
        next_start = fields[at + Field.NEXT_START]
        if next_start > now + BURST and self._rate_at(at):
            return next_start
        return now

    def start(self, place: int, now: float) -> None:
        """Count a row that starts."""
        fields, at = self.table.fields, self.table.at(place)
        self.table.start(place)
        fields[at + Field.USED_AT] = now
        rate = self._rate_at(at)
        if rate:
            self._responses.count(at, Field.STARTED, now)
            next_start = max(fields[at + Field.NEXT_START], now)
            fields[at + Field.NEXT_START] = next_start + 1.0 / rate

    def accept(self, place: int, started: float, now: float) -> None:
        """Note a response that is no refusal, to a row that started at `started`."""
        fields, at = self.table.fields, self.table.at(place)
        self._responses.count(at, Field.ACCEPTED, now)
        fields[at + Field.ACCEPTED_AT] = now
        fields[at + Field.HOPELESS] = fields[at + Field.FORBIDDEN] = 0.0
        if not fields[at + Field.CUT_AT]:
            return
        if started <= fields[at + Field.CUT_AT]:
            # What the host took of the first wave counts as a second's.
            if fields[at + Field.RATE] and not fields[at + Field.REFUSED_RATE]:
                fields[at + Field.RATE] += 1.0
            if fields[at + Field.WINDOW]:
                fields[at + Field.BORNE] += 1.0
                self._set_window(at, max(fields[at + Field.WINDOW], fields[at + Field.BORNE]))
            return
        if fields[at + Field.STREAK] >= 2:
            fields[at + Field.WINDOW] = 1.0  # the host is back: open step by step
        fields[at + Field.STREAK] = 0.0
        grow(fields, at, now, self._limit)

    def may_keep(self, place: int, waiting: bool) -> bool:
        """Return whether a row's connection may be kept, given whether more rows wait here.

        A host that limits connections counts idle ones, too. So a worker keeps none that it does
        not need at once, or that another worker should open.
        """
        window = self.table.fields[self.table.at(place) + Field.WINDOW]
        return not window or (waiting and self.table.own(place) <= self._share(place, window))

    def accepted_since(self, place: int, when: float) -> bool:
        """Return whether a host has accepted a row since then."""
        return self.table.fields[self.table.at(place) + Field.ACCEPTED_AT] > when

    def refuse(self, place: int, refused: Refused, now: float) -> bool:
        """Note a refusal of a row in progress.

        Returns:
            Whether it was the host's limit; else the failure is the row's own.
        """
        fields, at = self.table.fields, self.table.at(place)
        if not self._is_limit(place, refused, now):
            return False
        self._responses.count(at, Field.REFUSED, now)
        if refused.refusal is Refusal.RATE:
            fields[at + Field.LIMITED_AT] = now
        if refused.again:
            return True
        if refused.started <= fields[at + Field.CUT_AT]:
            # It was on its way when the limits were cut. Only what is left shows how many fit.
            if refused.refusal is Refusal.RESET and fields[at + Field.WINDOW]:
                self._cut_window(place)
            if refused.retry_after is not None:
                self._pause(at, refused.retry_after, now)
            return True
        if self._is_cause(at, refused):
            self._cut(place, refused, now)
        return not fields[at + Field.HOPELESS]

    def _is_limit(self, place: int, refused: Refused, now: float) -> bool:
        """Return whether a refusal can be a limit; may find that the host is hopeless."""
        fields, at = self.table.fields, self.table.at(place)
        alone = self.table.active(place) <= 1
        too_long = (refused.retry_after or 0.0) > MAX_RETRY_AFTER
        dead = refused.is_silent and (alone or refused.at_connect)
        if too_long or (dead and not fields[at + Field.ACCEPTED_AT]):
            self._give_up(at)
        if fields[at + Field.HOPELESS]:
            return False
        lately = fields[at + Field.STREAK] > 0 or self._is_limited(at, now)
        if refused.refusal is Refusal.FORBIDDEN:
            return lately
        return not refused.is_silent or not alone or lately

    def _is_limited(self, at: int, now: float) -> bool:
        """Return whether the host has said lately that there were too many requests."""
        when = self.table.fields[at + Field.LIMITED_AT]
        return when > 0 and now - when < BAN_AFTER

    def _is_cause(self, at: int, refused: Refused) -> bool:
        """Return whether a refusal is enough to cut the limits: a single URL may cause some."""
        fields = self.table.fields
        if refused.refusal is Refusal.FORBIDDEN:
            # One URL that is forbidden is no ban, however often it is asked for.
            fields[at + Field.FORBIDDEN] += 1.0 / (refused.before + 1)
            return fields[at + Field.FORBIDDEN] >= MIN_FORBIDDEN
        if fields[at + Field.STREAK] or not refused.is_silent:
            return True
        least = BUSY_SHARE if refused.is_vague else RESET_SHARE
        return self._responses.share_refused(at) >= least

    def _cut(self, place: int, refused: Refused, now: float) -> None:
        fields, at = self.table.fields, self.table.at(place)
        reset = refused.refusal is Refusal.RESET
        ban = refused.refusal is Refusal.FORBIDDEN or (reset and self._is_limited(at, now))
        if reset and not ban and fields[at + Field.ACCEPTED_AT] > fields[at + Field.CUT_AT]:
            fields[at + Field.STREAK] = 0.0  # it accepts those that were on their way
        streak = fields[at + Field.STREAK] = fields[at + Field.STREAK] + 1
        most = MAX_STREAK if fields[at + Field.ACCEPTED_AT] else MAX_FIRST_STREAK
        if streak >= (MAX_VAGUE_STREAK if refused.is_vague else most):
            self._give_up(at)
            return
        if streak == 1 and not ban:
            if reset:
                self._cut_window(place)
            else:
                self._cut_rate(place, now)
        step = int(streak) if ban else int(streak) - 1
        pause = 0.0 if reset and not step else PAUSES[min(step, len(PAUSES) - 1)]
        if refused.retry_after is not None:
            # A host that refuses again after the time it asked for is not believed twice.
            pause = max(refused.retry_after, pause if streak > 2 else PAUSES[0])
        hold(fields, at, pause, now)
        self._pause(at, pause, now)
        fields[at + Field.CUT_AT], fields[at + Field.GROWN_AT] = now, now + pause
        fields[at + Field.BORNE] = 0.0

    def _cut_rate(self, place: int, now: float) -> None:
        fields, at = self.table.fields, self.table.at(place)
        first = not fields[at + Field.RATE]
        since = max(fields[at + Field.PAUSED_UNTIL], now - (1.0 if first else MEASURED))
        accepted = self._responses.accepted(at, since) / max(now - since, 0.5)
        if first:  # its responses are on their way still: `accept` counts them
            fields[at + Field.RATE] = max(accepted, 1.0)
            return
        if self.table.active(place) > SLOW_ROWS * accepted:
            # Bodies take long, on a full link say: the host has taken more than have ended, and
            # what it refused was a burst.
            accepted = max(accepted, self._responses.taken(at, now))
        accepted = min(accepted, fields[at + Field.RATE])
        fields[at + Field.REFUSED_RATE] = max(accepted, MIN_RATE)
        fields[at + Field.RATE] = max(accepted * CUT, MIN_RATE)

    def _cut_window(self, place: int) -> None:
        """Cut the window to the rows in progress but the one that was refused."""
        fields, at = self.table.fields, self.table.at(place)
        window = max(self.table.active(place) - 1, 1)
        if fields[at + Field.WINDOW]:
            window = min(window, int(fields[at + Field.WINDOW]))
        self._set_window(at, max(window, int(fields[at + Field.BORNE])))

    def _set_window(self, at: int, window: float) -> None:
        fields = self.table.fields
        fields[at + Field.WINDOW] = window
        fields[at + Field.REFUSED_WINDOW] = window + 1

    def _pause(self, at: int, pause: float, now: float) -> None:
        fields = self.table.fields
        if now + pause > fields[at + Field.PAUSED_UNTIL]:
            fields[at + Field.PAUSED_UNTIL] = now + pause
            fields[at + Field.NEXT_START] = now + pause

    def _give_up(self, at: int) -> None:
        fields = self.table.fields
        for field in range(Field.NEXT_START, Field.STREAK + 1):
            fields[at + field] = 0.0
        fields[at + Field.HOPELESS] = 1.0

    def _window(self, at: int) -> float:
        fields = self.table.fields
        streak = fields[at + Field.STREAK]
        if streak >= 2 or (streak and not fields[at + Field.ACCEPTED_AT]):
            return 1.0
        window = fields[at + Field.WINDOW]
        return min(int(window), self._limit) if window else self._limit

    def _share(self, place: int, limit: float) -> float:
        """Return how many rows are this worker's, when others wait."""
        return math.ceil(limit / self.table.workers_with_rows(place)) if limit < math.inf else limit

    def _rate_at(self, at: int) -> float:
        learned = self.table.fields[at + Field.RATE]
        return min(learned, self._rate) if learned and self._rate else learned or self._rate
