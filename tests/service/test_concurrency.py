"""Fewer predictions are in progress while they are late: against a simulated server, and on a real one."""

import heapq
import json
import re
import threading
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import running_server, until

from service.errors import QueueFull
from service.http.protection.concurrency import ConcurrencyLimit

MOST, TARGET, LEAST = 128, 0.05, 16


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
            limit.end(began, is_small=True)
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
        limit.end(began, is_small=True)
    return latencies, offered


@given(rate=st.floats(400, 20_000))
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


def test_large_requests_that_take_their_time_are_no_overload(clock):
    limit = ConcurrencyLimit(MOST, TARGET)
    for _ in range(50):
        began = limit.begin()
        clock.now += 1
        limit.end(began, is_small=False)
    assert admitted(limit) == MOST


def test_a_limit_that_has_fallen_is_whole_again_three_seconds_later_though_nobody_asks(clock):
    limit = ConcurrencyLimit(MOST, TARGET)
    overload(clock, limit, 300, 4)
    assert LEAST <= admitted(limit) <= 50
    clock.now += 3
    assert admitted(limit) == MOST


def test_a_few_are_always_admitted_however_long_they_take(clock):
    limit = ConcurrencyLimit(MOST, TARGET)
    for _ in range(50):
        began = limit.begin()
        clock.now += 1
        limit.end(began, is_small=True)
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
            limit.end(each, is_small=False)
    return len(begun)


@pytest.fixture(scope="module")
def impatient() -> Iterator[httpx.Client]:
    """A service that finds every prediction late."""
    with running_server(only="mnist-3v5", WHITEBOX_TARGET_LATENCY_MS="0.001") as (client, _):
        yield client


def current_limit(client: httpx.Client) -> float:
    (found,) = re.findall(r'whitebox_budget_limit{budget="predictions"} (\S+)', client.get("/metrics").text)
    return float(found)


def test_a_service_that_answers_late_takes_on_fewer_refuses_the_rest_and_recovers(impatient, three):
    body = json.dumps({"images": [three]})
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=impatient.base_url, timeout=60) as client:
            while not stop.is_set():
                head = {"Content-Type": "application/json"}
                answer = client.post("/v1/predict", content=body, headers=head)
                statuses.append(answer.status_code)
                if answer.status_code == 429:
                    assert answer.headers["Retry-After"] == "1"
                    assert answer.json()["type"] == "urn:whitebox:problem:queue-full"

    assert current_limit(impatient) == MOST
    asking = [threading.Thread(target=ask) for _ in range(40)]
    for each in asking:
        each.start()
    until(lambda: {200, 429} <= set(statuses), 60)
    assert current_limit(impatient) < 40
    stop.set()
    for each in asking:
        each.join()
    assert set(statuses) == {200, 429}
    until(lambda: current_limit(impatient) == MOST, 30)
    assert impatient.post("/v1/predict", json={"images": [three]}).status_code == 200


def test_explanations_and_health_are_answered_while_predictions_are_refused(impatient, three):
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=impatient.base_url, timeout=60) as client:
            while not stop.is_set():
                statuses.append(client.post("/v1/predict", json={"images": [three]}).status_code)

    asking = [threading.Thread(target=ask) for _ in range(40)]
    for each in asking:
        each.start()
    try:
        until(lambda: 429 in statuses, 60)
        assert impatient.post("/v1/explain", json={"images": [three]}).status_code == 200
        assert impatient.get("/v2/health/ready").status_code == 200
    finally:
        stop.set()
        for each in asking:
            each.join()
