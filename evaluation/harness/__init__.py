"""The evaluation harness: attacks, certificates and checks for gradient masking, as one JSON card a network.

`suite` lists what is measured, `plan` cuts it into jobs, `shard` runs one job, `workers` are where jobs run,
`shard_cache` keeps finished jobs on disk, `measurements`, `checks`, `reliability` and `card` add them up,
`run` ties them together. How to use it and what the numbers mean: docs/evaluation.md.
"""

from evaluation.harness.run import evaluate
from evaluation.harness.suite import Suite

__all__ = ["Suite", "evaluate"]
