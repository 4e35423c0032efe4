"""The evaluation harness: what a reviewer of adversarial robustness asks for, as one JSON card a network.

`suite` says what is measured, `plan` cuts it into jobs, `shard` does one job, `workers` are where jobs run,
`parts` keeps what is finished, `measured`, `checks`, `reliability` and `card` add it up, `run` ties them
together. How to use it and what the numbers mean: docs/evaluation.md.
"""

from evaluation.harness.run import evaluate
from evaluation.harness.suite import Suite

__all__ = ["Suite", "evaluate"]
