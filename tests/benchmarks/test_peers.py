"""The comparison with other servers: what can be tested without them."""

import re
from pathlib import Path

import httpx
import pytest
from running import ROOT
from typer.testing import CliRunner

from benchmarks.peers import servers
from benchmarks.peers.__main__ import app
from benchmarks.peers.catalogue import PEERS, chosen

README = ROOT / "benchmarks" / "peers" / "README.md"


def test_every_command_of_the_readme_has_help():
    commands = set(re.findall(r"python -m benchmarks\.peers (\w+)", README.read_text()))
    assert commands == {command.callback.__name__ for command in app.registered_commands}
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_every_peer_with_pins_has_its_app_file_and_one_exact_version():
    for name, peer in PEERS.items():
        if peer.pins:
            assert (servers.APPS / f"{name}_app.py").exists()
            assert peer.pins[0].startswith(f"{name}==")


def test_an_unknown_peer_is_named():
    with pytest.raises(ValueError, match="no peer 'triton'"):
        chosen("ours,triton")


def test_the_plain_app_starts_answers_as_onnxruntime_does_and_ends(tmp_path: Path):
    with servers.running("plain", tmp_path) as server:
        assert server.megabytes() > 20
        assert server.pid in servers.process_tree(server.pid)
    with pytest.raises(httpx.ConnectError):
        httpx.post(server.url)
