"""Where shards run: in this process, in others, on Ray; a failure names its shard."""

import importlib.util
import json
import os
import subprocess
import time

import pytest
from evaluation_suites import few, without_times
from running import PACKAGE, WHITEBOX
from torch import nn

from evaluation.harness import evaluate
from evaluation.harness.plan import plan_suite
from evaluation.harness.shard import Job, ModelBackends
from evaluation.harness.suite import rows
from evaluation.harness.workers import ShardError, in_processes, in_this_process, on_ray
from training.data import load_mnist
from training.errors import TrainingError

COMMAND = [str(WHITEBOX), "evaluate", str(PACKAGE), "--sample"]


class Dies(nn.Module):
    def forward(self, image):
        if multiprocessing_child():
            os._exit(13)
        return image.flatten(1)[:, :2]


class Raises(nn.Module):
    def forward(self, _image):
        raise ZeroDivisionError("on purpose")


def multiprocessing_child() -> bool:
    import multiprocessing

    return multiprocessing.parent_process() is not None


def job(network, test_digits) -> Job:
    digits = few(test_digits, 4)
    return Job(rows(0.3)["fgsm"], ModelBackends(network, None, None), 200, digits.images, digits.classes)


@pytest.mark.slow
def test_a_dead_worker_is_an_error_that_names_the_shard(test_digits):
    with pytest.raises(ShardError, match=r"fgsm on images 200 to 203 failed: .*exit code 13"):
        list(in_processes(2)([job(Dies(), test_digits)]))


@pytest.mark.parametrize("workers", [in_this_process, in_processes(1)])
def test_a_failing_job_is_an_error_that_names_the_shard(test_digits, workers):
    with pytest.raises(ShardError, match=r"fgsm on images 200 to 203 failed: .*ZeroDivisionError"):
        list(workers([job(Raises(), test_digits)]))


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_shards_spread_over_an_existing_ray_cluster(target, tmp_path):
    import ray

    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        address = context.address_info["gcs_address"]
        card = tmp_path / "card.json"
        arguments = ["--limit", "20", "--attack", "fgsm", "--out", str(card), "--ray", address]
        subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)
    finally:
        ray.shutdown()
    digits = load_mnist("test", (3, 5), sample=True).first(20)
    here = evaluate(target, digits, tmp_path / "here.json", plan_suite(target, names=["fgsm"]), quiet=True)
    assert without_times(json.loads(card.read_text())) == without_times(here)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_no_ray_cluster_is_one_clear_error_at_once():
    started = time.monotonic()
    with pytest.raises(TrainingError, match=r"There is no Ray cluster at 127\.0\.0\.1:1"):
        on_ray("127.0.0.1:1")
    assert time.monotonic() - started < 60
