"""The controller of DNS questions: how many are in flight, and how many start a second. Pure.

A name server says what is too much for it by failing (SERVFAIL, REFUSED) or by silence, and a
forwarder's limit is as often a rate as a number. So both are limited:

* **Start.** Without a rate; the window grows by one for each answer, from 32 to 256.
* **Cut.** More than a tenth of the questions failed: the rate becomes what was *achieved*, the
  answers a second, since what a server answered is what it can bear.
* **Probe.** The rate grows, at first by 4 % a second, and faster the longer nothing fails.
* **Ambient failures.** Names whose own servers fail, or a lossy line, fail at any rate. When a cut
  does not lower the share, it was that: the cut is taken back, and only a share well above it cuts.
* **Outage.** Nearly nothing is answered: a few questions a second probe, and answers start anew.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from img2ds.congestion.machine import Floats
from img2ds.congestion.signals import Signal

#: Questions in flight at first, at least, and at most. Common forwarders take 150 (dnsmasq).
FIRST_WINDOW, MIN_WINDOW, MAX_WINDOW = 32.0, 32.0, 256.0
#: Share of failures, above the ambient one, that means "too much", and how many are needed.
TOLERATED, ENOUGH = 0.10, 5
#: A cut that leaves more than this part of the share of failures did not help; one that leaves
#: less than that part did.
NOT_HELPED, HELPED = 0.7, 0.45
#: Questions a second at least, and part of the best level that probes when nothing is answered.
MIN_RATE, OUT_RATE = 10.0, 0.4
#: Growth of the rate a second after a failure, by how much it grows a clean second, and at most.
GROWTH, FASTER, MAX_GROWTH = 0.04, 2.0, 0.6
#: The same after the first cut, when little is known.
FIRST_GROWTH = 0.3
#: Seconds of a mean answer that is looked up, not read from a cache.
SLOW = 0.25
#: A rate that exceeds what is asked by this factor limits nothing and stays.
SLACK = 1.5
#: Seconds over which the achieved level is measured; shorter at the start.
LEVEL_TIME, FIRST_LEVEL_TIME = 2.0, 0.2
#: Failures that are expected if a cut does not help, before it is judged.
EVIDENCE = 16
#: Seconds after which failures are counted anew.
LEDGER_TIME = 3.0
#: Seconds of a question without an answer, at least; see `dns_server`.
TIME_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """Sums at a time: questions answered, failed, timed out; seconds of those answered.

    `in_flight` is the number at that time.
    """

    time: float
    answered: float
    failed: float
    timeouts: float
    seconds: float
    in_flight: float

    @property
    def bad(self) -> float:
        return self.failed + self.timeouts


class DnsControl:
    """Turns the machine's counts of questions into limits.

    Attributes:
        window: questions in flight.
        rate: questions a second; 0 for no limit.
        ambient: share of the questions that fails at any rate.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=64)
        self.restart()

    def restart(self) -> None:
        """Start anew, as after an outage: nothing is known of the name servers."""
        self.window = FIRST_WINDOW
        self.rate = 0.0
        self.ambient = 0.0
        self._limited = False
        self._samples.clear()
        self._since: _Sample | None = None  # what came before says nothing
        self._hold_until = 0.0
        self._growth = GROWTH
        self._grown_at = 0.0
        self._trial: _Trial | None = None
        self._out_since: float | None = None
        self._before_out = 0.0
        self._best_level = 0.0

    def adopt(self, window: float, rate: float) -> None:
        """Begin with what another worker has found."""
        self.window, self.rate, self._limited = window, rate, rate > 0

    @property
    def answered_rate(self) -> float:
        """Answers a second lately."""
        return self._level() if self._samples else 0.0

    def update(self, now: float, totals: Floats) -> None:
        """Adapt the limits; to be called about ten times a second.

        Args:
            totals: of the machine, by `Signal`.
        """
        sample = _Sample(
            now,
            float(totals[Signal.DNS_ANSWERED]),
            float(totals[Signal.DNS_FAILED]),
            float(totals[Signal.DNS_TIMEOUTS]),
            float(totals[Signal.DNS_SECONDS]),
            float(totals[Signal.DNS_IN_FLIGHT]),
        )
        last = self._samples[-1] if self._samples else sample
        self._samples.append(sample)
        self._best_level = max(self._best_level, self._best(FIRST_LEVEL_TIME))
        if self._since is None:
            self._since = sample
        if now < self._hold_until:
            self._since = sample
            return
        answered, bad = sample.answered - self._since.answered, sample.bad - self._since.bad
        if self._out_since is not None:
            self._look_for_answers(sample, answered, bad)
        elif self._trial is not None:
            self._judge(self._trial, sample, answered, bad)
        elif self._is_too_much(answered, bad):
            self._cut(sample, answered, bad)
        else:
            self._grow(sample, last)
            if answered + bad > 200 or now - self._since.time > LEDGER_TIME:
                self._lower_ambient(answered, bad)
                self._since = sample

    def _is_too_much(self, answered: float, bad: float) -> bool:
        """Return whether more failed than is tolerated, by more than chance would have it."""
        expected = (answered + bad) * self._most_tolerated()
        return bad >= ENOUGH and bad > expected + 2.0 * math.sqrt(expected)

    def _most_tolerated(self) -> float:
        return self.ambient + TOLERATED * (1.0 - self.ambient)

    def _cut(self, sample: _Sample, answered: float, bad: float) -> None:
        first = self._since
        assert first is not None
        share = bad / (answered + bad)
        failed = sample.failed - first.failed
        # A cold server may fail at once what is too much, before it has looked anything up.
        if not answered and (failed < 0.5 * bad or failed > sample.in_flight):
            # A name server that bore more before is asked more: at the end of a list, what is
            # left may be names that fail.
            self._out_since, self._before_out = sample.time, self.rate
            self.rate = max(MIN_RATE, OUT_RATE * self._best_level)
            self._trial = None
            self._since = sample
            return
        # Silence stalls the first window: what came before it did says what can be had.
        level = self._level() if self._limited else self._best(FIRST_LEVEL_TIME)
        again = self._trial is not None
        mean = self._mean_seconds()
        slow = mean > SLOW or not answered
        by_number = not again and slow and failed > 0.8 * bad
        before = self._trial or _Trial(share, self.rate, self.window, self._limited)
        self._trial = replace(before, share=share, by_number=by_number)
        if by_number:
            # It works on so many names at once, and refuses more: what is in flight it bears.
            self.window = max(0.95 * sample.in_flight, 4.0)
            self.rate = SLACK * self.window / mean if mean else self.rate
        else:
            self.rate = max(0.95 * level, MIN_RATE)
            # Little's law: what is in flight at this rate, were each to take its time limit.
            seconds = max(mean, 0.5 * TIME_LIMIT)
            self.window = min(max(2.0 * self.rate * seconds, MIN_WINDOW), MAX_WINDOW)
        self._growth = GROWTH if before.limited else FIRST_GROWTH
        self._limited = True
        self._hold(sample, mean)

    def _hold(self, sample: _Sample, mean: float) -> None:
        """Wait until the questions that were asked before now are decided."""
        first = self._since
        assert first is not None
        silent = sample.timeouts - first.timeouts > 0.2 * (sample.bad - first.bad)
        limit = max(TIME_LIMIT, 2.0 * mean) if silent else mean
        self._hold_until = sample.time + min(limit, 5.0) + 0.15
        self._since = sample

    def _judge(self, trial: _Trial, sample: _Sample, answered: float, bad: float) -> None:
        """Decide whether a cut helped, once as many failed as would have, or could have."""
        asked = answered + bad
        if asked * trial.share < EVIDENCE:
            return
        share = bad / asked
        if share > NOT_HELPED * trial.share and answered and not trial.by_number:
            self.ambient = share
            self.rate, self.window, self._limited = trial.rate, trial.window, trial.limited
            self._trial = None
        elif share > HELPED * trial.share:
            self._cut(sample, answered, bad)  # too little: the level was less than it seemed
        else:
            self._trial = None
        self._since = sample

    def _lower_ambient(self, answered: float, bad: float) -> None:
        if answered + bad >= 50:
            share = bad / (answered + bad)
            self.ambient += 0.3 * min(share - self.ambient, 0.0)

    def _grow(self, sample: _Sample, last: _Sample) -> None:
        answered, elapsed = sample.answered - last.answered, sample.time - last.time
        if not self._limited:
            # Answers of a cold server take seconds, and as long as none failed it may have more.
            clean = 0.0 if sample.bad else self.window * elapsed
            self.window = min(self.window + max(answered, clean), MAX_WINDOW)
            return
        start = max(sample.time - 1.0, self._hold_until)
        second = next(s for s in self._samples if s.time >= start or s is sample)
        bad = sample.bad - second.bad
        if bad > 1 and bad > (sample.answered - second.answered + bad) * self._most_tolerated():
            self._growth = GROWTH
        if self.rate > SLACK * max(self._level(), MIN_RATE):
            return
        if not self.rate and sample.in_flight < 0.8 * self.window:
            return
        factor = 1.0 + self._growth * elapsed
        self._growth = min(self._growth * FASTER**elapsed, MAX_GROWTH)
        self.rate *= factor
        self.window = min(self.window * factor, MAX_WINDOW)

    def _look_for_answers(self, sample: _Sample, answered: float, bad: float) -> None:
        """End the outage when questions are answered again."""
        assert self._since is not None
        assert self._out_since is not None
        if answered >= 2 and answered > bad:
            if sample.time > self._out_since + LEDGER_TIME:
                self.rate, self.window = self._before_out, FIRST_WINDOW
                self._limited = self.rate > 0
            else:  # none: a few were answered among many that were too much
                self._growth, self._limited = FIRST_GROWTH, True
            self._out_since = None
            self._since = sample
        elif sample.time - self._since.time > 1.0:
            self._since = sample

    def _level(self) -> float:
        """Return the answers a second that were achieved lately."""
        time = min(max(LEVEL_TIME, 4.0 * self._mean_seconds()), 4.0)
        last = self._samples[-1]
        first = next(s for s in self._samples if s.time >= last.time - time)
        if last.time <= first.time:
            return 0.0
        return (last.answered - first.answered) / (last.time - first.time)

    def _best(self, time: float) -> float:
        """Return the most answers a second over any `time` seconds of the last ones.

        A burst that a server grants at first would be taken for more than it bears, so half an
        update's interval is added.
        """
        best, start = 0.0, 0
        samples = list(self._samples)
        for end, sample in enumerate(samples):
            while samples[start].time < sample.time - time - 1e-9:
                start += 1
            span = sample.time - samples[start].time
            answered = samples[end].answered - samples[start].answered
            best = max(best, answered / (span + 0.05))
        return best

    def _mean_seconds(self) -> float:
        """Return the mean time of the questions answered lately."""
        first, last = self._samples[0], self._samples[-1]
        count = last.answered - first.answered
        return (last.seconds - first.seconds) / count if count else 0.0


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a cut changed: the share of failures, and the limits before."""

    share: float
    rate: float
    window: float
    limited: bool
    by_number: bool = False
