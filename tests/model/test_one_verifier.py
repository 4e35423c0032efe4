"""The service's worker, `whitebox certify` and the evaluation harness give one verdict: the verifier's."""

import json
import subprocess
import sys

import pytest
import torch
from running import PACKAGE, ROOT
from typer.testing import CliRunner

from evaluation.harness.shard import Job, ModelBackends, run_shard
from evaluation.harness.suite import AUTO, Certificate, auto_members, rows
from model.attacks.registry import AUTOATTACK, autoattack_members
from model.package import read_package
from model.verification.verify import SearchPolicy, Verifier
from training.data import load_mnist
from whitebox.cli import app

COUNT, EPSILONS = 12, (0.1, 0.2, 0.3)


@pytest.fixture(scope="module")
def some():
    return load_mnist("test", (3, 5), sample=True).first(COUNT)


@pytest.fixture(scope="module")
def expected(frozen, some):
    policy = SearchPolicy(attack=False)
    found = Verifier(frozen).verify_at_each(some.images, some.classes, EPSILONS, policy)
    verdicts = {epsilon: [result.verdict for result in results] for epsilon, results in found.items()}
    assert {verdict for each in verdicts.values() for verdict in each} == {"certified", "unknown"}
    return verdicts


def test_the_services_worker_gives_the_verifiers_verdicts(some, expected):
    package = read_package(PACKAGE)
    job = {
        "work": "certify",
        "package": str(PACKAGE),
        "digest": package.digest,
        "images": some.images.squeeze(1).tolist(),
        "true_classes": some.classes.tolist(),
        "radius": False,
        "counterexample": False,
        "seconds": 60.0,
    }
    lines = [json.dumps({**job, "epsilon": epsilon}) for epsilon in EPSILONS]
    done = subprocess.run(
        [sys.executable, "-m", "service.workers.worker"],
        input="\n".join([*lines, ""]), capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    _, *answers = map(json.loads, done.stdout.splitlines())
    for epsilon, answer in zip(EPSILONS, answers, strict=True):
        assert [one["verdict"] for one in answer["result"]["assessments"]] == expected[epsilon]


def test_the_command_line_gives_the_verifiers_verdicts(expected, tmp_path):
    verdicts = tmp_path / "verdicts.jsonl"
    options = [option for epsilon in EPSILONS for option in ("--epsilon", str(epsilon))]
    done = CliRunner().invoke(
        app,
        ["certify", str(PACKAGE), "--sample", "--limit", str(COUNT), "--verdicts", str(verdicts), *options],
    )
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in verdicts.read_text().splitlines()]
    for epsilon in EPSILONS:
        assert [one["verdict"] for one in found if one["epsilon"] == epsilon] == expected[epsilon]


def test_the_evaluation_harness_gives_the_verifiers_verdicts(frozen, some, expected):
    judged = ModelBackends(frozen, frozen, None)
    for epsilon in EPSILONS:
        result = run_shard(Job(Certificate(epsilon), judged, 0, some.images, some.classes))
        assert result.withstood == [verdict == "certified" for verdict in expected[epsilon]]


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_autoattack_has_one_list_of_members(classes):
    members = autoattack_members(classes)
    assert members == AUTOATTACK if classes >= 4 else members == ("apgd", "fab", "square")
    assert tuple(rows(0.3)[name].settings.attack for name in auto_members(classes)) == members


def test_the_documentation_lists_autoattacks_members():
    text = (ROOT / "docs" / "evaluation.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith(f"| `{AUTO}` |")]
    for name in auto_members(10):
        assert f"`{name}`" in line


def test_one_network_and_image_give_one_result_alone_and_in_a_batch(frozen, some):
    verifier = Verifier(frozen)
    together = verifier.verify(some.images, some.classes, 0.2, SearchPolicy(attack=False))
    for row, result in enumerate(together):
        (alone,) = verifier.verify(some.images[[row]], some.classes[[row]], 0.2, SearchPolicy(attack=False))
        assert alone.verdict == result.verdict
        assert torch.isclose(
            torch.tensor(alone.margin_lower_bound), torch.tensor(result.margin_lower_bound), atol=1e-9
        )
