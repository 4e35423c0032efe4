"""Fewer predictions are in progress while they are late: against a simulated server, and on a real one."""

import heapq
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import running_server, until

from service.errors import QueueFull
from service.http.protection.concurrency import ConcurrencyLimit

MOST, TARGET, LEAST = 128, 0.05, 32


class Clock:
    """Stands for `time.perf_counter`."""

    now = 1000.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("service.http.protection.concurrency.time", clock)
    return clock


def overload(clock: Clock, limit: ConcurrencyLimit, rate: float, seconds: float) -> tuple[list[float], int]:
    """Asks a server that answers `rate` requests a second, one after the other, twice as many.

    Returns the latencies of what was answered in the second half, and how many requests that had.
    """
    latencies: list[float] = []
    offered, free_at = 0, clock.now
    under_way: list[tuple[float, float]] = []  # answered at, begun at
    begin, half, end = clock.now, clock.now + seconds / 2, clock.now + seconds
    for number in range(int(2 * rate * seconds)):
        due = begin + number / (2 * rate)
        while under_way and under_way[0][0] <= due:
            clock.now, began = heapq.heappop(under_way)
            limit.end(began)
            latencies += [clock.now - began] * (began >= half)
        clock.now = due
        offered += due >= half
        try:
            began = limit.begin()
        except QueueFull:
            continue
        free_at = max(free_at, due) + 1 / rate
        heapq.heappush(under_way, (free_at, began))
    clock.now = end
    for _, began in under_way:
        limit.end(began)
    return latencies, offered


@pytest.mark.slow
@given(rate=st.floats(700, 20_000))
def test_whatever_a_server_can_do_half_of_twice_that_is_answered_about_in_time(rate):
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr("service.http.protection.concurrency.time", clock)
        limit = ConcurrencyLimit(MOST, TARGET)
        latencies, offered = overload(clock, limit, rate, 6)
    assert len(latencies) >= 0.45 * offered  # no capacity is left unused
    assert sum(latencies) / len(latencies) <= 1.3 * TARGET


def test_without_a_target_the_limit_stays_and_answers_get_as_late_as_they_may(clock):
    latencies, _ = overload(clock, ConcurrencyLimit(MOST, 0), 1000, 4)
    assert sum(latencies) / len(latencies) == pytest.approx(MOST / 1000, rel=0.05)


def test_a_limit_that_has_fallen_is_whole_again_three_seconds_later_though_nobody_asks(clock):
    limit = ConcurrencyLimit(MOST, TARGET)
    overload(clock, limit, 700, 4)
    assert LEAST <= admitted(limit) <= 50
    clock.now += 3
    assert admitted(limit) == MOST


def test_a_few_are_always_admitted_however_long_they_take(clock):
    limit = ConcurrencyLimit(MOST, TARGET)
    for _ in range(50):
        began = limit.begin()
        clock.now += 1
        limit.end(began)
    assert admitted(limit) >= LEAST
    assert admitted(ConcurrencyLimit(3, TARGET)) == 3


def admitted(limit: ConcurrencyLimit) -> int:
    """Returns how many begin at once, and ends them."""
    begun: list[float] = []
    try:
        while len(begun) < 1000:
            begun.append(limit.begin())
    except QueueFull:
        pass
    finally:
        for each in begun:
            limit.end(each)
    return len(begun)


@pytest.fixture(scope="module")
def impatient() -> Iterator[httpx.Client]:
    """A service that finds every prediction late."""
    with running_server(only="mnist-3v5", WHITEBOX_TARGET_LATENCY_MS="0.001") as (client, _):
        yield client


def current_limit(client: httpx.Client) -> float:
    (found,) = re.findall(r'whitebox_budget_limit{budget="predictions"} (\S+)', client.get("/metrics").text)
    return float(found)


@contextmanager
def asking(client: httpx.Client, images: list[object], clients: int) -> Iterator[Counter[int]]:
    """Asks for predictions all the while; yields the statuses so far."""
    body = json.dumps({"images": images})
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=client.base_url, timeout=60) as own:
            while not stop.is_set():
                answer = own.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
                if answer.status_code == 429:
                    assert answer.headers["Retry-After"] == "1"
                    assert answer.json()["type"] == "urn:whitebox:problem:queue-full"
                statuses[answer.status_code] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for each in threads:
        each.start()
    try:
        yield statuses
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert set(statuses) <= {200, 429}


def test_a_service_that_answers_late_takes_on_fewer_refuses_the_rest_and_recovers(impatient, three):
    assert current_limit(impatient) == MOST
    with asking(impatient, [three], 40) as statuses:
        until(lambda: {200, 429} <= set(statuses), 60)
        assert current_limit(impatient) < 40
    until(lambda: current_limit(impatient) == MOST, 30)
    assert impatient.post("/v1/predict", json={"images": [three]}).status_code == 200


def test_explanations_and_health_are_answered_while_predictions_are_refused(impatient, three):
    with asking(impatient, [three], 40) as statuses:
        until(lambda: statuses[429], 60)
        assert impatient.post("/v1/explain", json={"images": [three]}).status_code == 200
        assert impatient.get("/v2/health/ready").status_code == 200


@pytest.mark.slow
def test_large_requests_hold_no_place_that_a_small_one_could_have(impatient, three):
    with asking(impatient, [three] * 100, 2 * LEAST) as statuses:
        until(lambda: statuses[200], 60)
        for _ in range(50):
            assert impatient.post("/v1/predict", json={"images": [three]}).status_code == 200
