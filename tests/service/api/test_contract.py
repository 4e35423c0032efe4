"""The service keeps what its OpenAPI document says, by requests that schemathesis makes up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT


@pytest.mark.slow
@pytest.mark.skipif(not Path("/usr/bin/curl").exists(), reason="the script asks with curl")
def test_a_thousand_made_up_requests_find_no_fault():
    """`make contract-test` makes 20,000; these are a few of each kind, so that it is run always."""
    found = subprocess.run(
        [ROOT / "deploy" / "contract-test", "0", "1000"],
        env={**os.environ, "BIN": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]
