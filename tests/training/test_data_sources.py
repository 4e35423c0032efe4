"""Images of one's own: folders, IDX files and .npz files of any size, their classes, splits and faults."""

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import sample_digits

from training.data import DataError, DataSource, find_source, load_recorded
from training.data.idx_directory import KNOWN, KnownData
from training.data.recorded import Place

FASHION = Path("/usr/share/datasets/fashion-mnist")
fashion = pytest.mark.skipif(not FASHION.exists(), reason="Debian's dataset-fashion-mnist is not installed")


def some_digits(label: int, count: int) -> np.ndarray:
    images, labels = sample_digits()
    return images[labels == label][:count].reshape(-1, 28, 28).astype(np.uint8)


def write_folder(root: Path, size: tuple[int, int] = (28, 28), suffix: str = ".png", **classes: int) -> Path:
    """Real digits as files of any height and width, a subfolder a class; classes: name and digit."""
    for name, digit in classes.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for index, pixels in enumerate(some_digits(digit, 12)):
            Image.fromarray(pixels).resize(size[::-1]).save(folder / f"{index:02}{suffix}")
    return root


def write_idx(path: Path, array: np.ndarray, packed: bool = True) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if packed else content)
    return content


def write_idx_directory(directory: Path, packed: bool = True, parts=("train", "t10k")) -> Path:
    directory.mkdir(exist_ok=True)
    images = np.concatenate([some_digits(4, 15), some_digits(9, 15)])
    labels = np.repeat([4, 9], 15)
    suffix = ".gz" if packed else ""
    for part in parts:
        write_idx(directory / f"{part}-images-idx3-ubyte{suffix}", images, packed)
        write_idx(directory / f"{part}-labels-idx1-ubyte{suffix}", labels, packed)
    return directory


def counts(source: DataSource) -> dict[str, list[int]]:
    return {
        split: source.load(split).classes.bincount().tolist() for split in ("train", "validation", "test")
    }


def test_a_folder_of_pngs_is_split_by_class_and_nothing_is_in_two_splits(tmp_path):
    found = find_source(write_folder(tmp_path / "digits", zero=0, one=1))
    source = found.source
    assert (source.kind, source.labels, source.height, source.width) == ("folder", ("one", "zero"), 28, 28)
    assert counts(source) == {"train": [10, 10], "validation": [1, 1], "test": [1, 1]}
    seen = [image.numpy().tobytes() for split in counts(source) for image in source.load(split).images]
    assert len(seen) == len(set(seen)) == 24
    assert not found.notes


def test_pixels_of_files_of_the_right_size_are_what_is_in_the_files(tmp_path):
    source = find_source(write_folder(tmp_path / "digits", zero=0, one=1)).source
    read = {tuple((image * 255).round().byte().flatten().tolist()) for image in source.load("train").images}
    assert read <= {tuple(image.flatten().tolist()) for label in (0, 1) for image in some_digits(label, 12)}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_every_format_is_read(tmp_path, suffix):
    source = find_source(write_folder(tmp_path / "data", (16, 12), suffix, zero=0, one=1)).source
    assert source.load("train").images.shape == (20, 1, 16, 12)


def test_files_of_many_sizes_are_brought_to_one_and_the_user_is_told(tmp_path):
    write_folder(tmp_path, (200, 100), zero=0)
    write_folder(tmp_path, (90, 45), one=1)
    found = find_source(tmp_path)
    assert (found.source.height, found.source.width) == (32, 16)
    assert "2 sizes" in found.notes[0]
    assert "32 x 16" in found.notes[0]
    named = find_source(tmp_path, size=(20, 24)).source
    assert named.load("train").images.shape[2:] == (20, 24)


def test_folders_named_train_and_test_are_the_split(tmp_path):
    write_folder(tmp_path / "train", zero=0, one=1)
    write_folder(tmp_path / "test", zero=0, one=1)
    assert counts(find_source(tmp_path).source) == {"train": [11, 11], "validation": [1, 1], "test": [12, 12]}


def test_subfolders_that_are_numbers_make_labels_that_are_numbers(tmp_path):
    assert find_source(write_folder(tmp_path, **{"4": 4, "9": 9, "10": 0})).source.labels == (4, 9, 10)


def test_classes_are_picked_and_put_in_order(tmp_path):
    write_folder(tmp_path, zero=0, one=1, two=2)
    source = find_source(tmp_path, ["two", "zero"]).source
    assert source.labels == ("two", "zero")
    assert counts(source)["train"] == [10, 10]
    with pytest.raises(DataError, match=r"no class 'three'; it has one, two, zero"):
        find_source(tmp_path, ["two", "three"])
    with pytest.raises(DataError, match="at least two classes"):
        find_source(tmp_path, ["two"])


def test_files_that_cannot_be_read_are_named_and_left_out(tmp_path):
    write_folder(tmp_path, zero=0, one=1)
    (tmp_path / "one" / "broken.png").write_bytes(b"no image")
    (found,) = find_source(tmp_path).notes
    assert "1 file" in found
    assert "broken.png" in found
    for file in (tmp_path / "zero").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"No image of the class 'zero'.*can be read"):
        find_source(tmp_path)


def test_a_class_of_one_image_is_refused_and_unequal_classes_are_told(tmp_path):
    write_folder(tmp_path, zero=0, one=1)
    for file in sorted((tmp_path / "one").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DataError, match=r"class 'one'.*1 image; at least 3.*--classes"):
        find_source(tmp_path)
    for index in range(2):
        Image.fromarray(some_digits(1, 1)[0]).save(tmp_path / "one" / f"more{index}.png")
    for index in range(10):
        Image.fromarray(some_digits(0, 1)[0]).save(tmp_path / "zero" / f"more{index}.png")
    (found,) = find_source(tmp_path).notes
    assert "Classes are unequal: 22 images of 'zero', 3 of 'one'" in found


def test_too_small_images_are_refused_with_the_option_that_helps(tmp_path):
    write_folder(tmp_path, (6, 6), zero=0, one=1)
    with pytest.raises(DataError, match=r"--size"):
        find_source(tmp_path, size=(6, 6))


@pytest.mark.parametrize("packed", [True, False])
def test_any_idx_files_are_taken_as_they_are(tmp_path, packed):
    found = find_source(write_idx_directory(tmp_path / "mine", packed))
    assert found.source.labels == (4, 9)
    assert counts(found.source) == {"train": [13, 13], "validation": [2, 2], "test": [15, 15]}
    assert "taken as it is" in found.notes[0]


def test_idx_files_of_a_known_data_set_are_recognised_and_bring_names(tmp_path, monkeypatch):
    directory = write_idx_directory(tmp_path / "mine")
    contents = [gzip.decompress(file.read_bytes()) for file in directory.iterdir()]
    digests = frozenset(hashlib.sha256(content).hexdigest() for content in contents)
    names = tuple(f"class {index}" for index in range(10))
    monkeypatch.setattr("training.data.idx_directory.KNOWN", (KnownData("Known", digests, names),))
    found = find_source(directory, ["class 9", "4"])
    assert found.notes == ["The files are those of Known."]
    assert found.source.labels == ("class 9", "class 4")
    assert found.source.load("test").source == "Known, test"


def test_a_known_data_set_with_another_file_in_it_is_told(tmp_path, monkeypatch):
    directory = write_idx_directory(tmp_path / "mine", parts=("train",))
    images = directory / "train-images-idx3-ubyte.gz"
    digest = hashlib.sha256(gzip.decompress(images.read_bytes())).hexdigest()
    monkeypatch.setattr("training.data.idx_directory.KNOWN", (KnownData("Known", frozenset([digest])),))
    assert find_source(directory).notes == ["Not the files of Known: train-labels-idx1-ubyte.gz."]


@fashion
def test_fashion_mnist_is_recognised():
    found = find_source(FASHION, ["ankle boot", "0"])
    assert found.notes == ["The files are those of Fashion-MNIST."]
    assert found.source.labels == ("ankle boot", "t-shirt")
    assert found.source.load("test").classes.bincount().tolist() == [1000, 1000]


def test_the_known_data_sets_have_four_files_each():
    assert [known.name for known in KNOWN] == ["MNIST", "Fashion-MNIST", "KMNIST"]
    assert all(len(known.digests) == 4 for known in KNOWN)


def test_damaged_or_missing_idx_files_are_named(tmp_path):
    directory = write_idx_directory(tmp_path / "mine", packed=False)
    labels = directory / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte is not whole"):
        find_source(directory)
    labels.unlink()
    with pytest.raises(DataError, match=r"one IDX file of grey images and one of labels for train"):
        find_source(directory)


@pytest.mark.parametrize("names", [("x_train", "y_train"), ("images", "labels")])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_npz_files_are_read_with_bytes_or_shares(tmp_path, names, kind):
    images = np.concatenate([some_digits(4, 15), some_digits(9, 15)])
    values = images if kind is np.uint8 else images.astype(kind) / 255
    path = tmp_path / "digits.npz"
    np.savez(path, **{names[0]: values, names[1]: np.repeat(["four", "nine"], 15)})
    source = find_source(path).source
    assert source.labels == ("four", "nine")
    assert torch.equal(source.load("train").images[0, 0], torch.from_numpy(images[0] / np.float32(255)))


def test_npz_files_that_hold_something_else_are_refused(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, images=some_digits(4, 3), labels=np.array([{"a": 1}] * 3, dtype=object))
    with pytest.raises(DataError, match="plain arrays"):
        find_source(path)
    np.savez(path, pictures=some_digits(4, 3))
    with pytest.raises(DataError, match=r"holds pictures; .*x_train and y_train"):
        find_source(path)
    np.savez(path, images=some_digits(4, 3).astype(np.float32), labels=np.array([1, 2, 3]))
    with pytest.raises(DataError, match=r"floats are taken in \[0, 1\]"):
        find_source(path)


def test_a_path_with_nothing_known_says_what_is_known(tmp_path):
    with pytest.raises(DataError, match="There is no"):
        find_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"PNG.*IDX.*npz"):
        find_source(tmp_path)


def recorded(source: DataSource) -> dict:
    return {
        "source": source.to_dict(),
        "data": source.load("train").origin(),
        "validation": source.load("validation").origin(),
        "test": source.load("test").origin(),
    }


def test_a_run_finds_its_own_data_again_even_in_another_place(tmp_path):
    source = find_source(write_folder(tmp_path / "here", zero=0, one=1)).source
    training = recorded(source)
    assert DataSource.from_dict(training["source"]) == source
    assert load_recorded(training, source.labels, "test").digest == training["test"]["sha256"]
    moved = write_folder(tmp_path / "there", zero=0, one=1)
    again = load_recorded(training, source.labels, "test", Place(data=moved))
    assert again.digest == training["test"]["sha256"]


def test_other_images_than_the_run_s_own_are_refused(tmp_path):
    source = find_source(write_folder(tmp_path / "here", zero=0, one=1)).source
    training = recorded(source)
    other = write_folder(tmp_path / "there", zero=2, one=1)
    with pytest.raises(DataError, match="does not hold the images that the model was made with"):
        load_recorded(training, source.labels, "test", Place(data=other))
    with pytest.raises(DataError, match="not on MNIST"):
        load_recorded(training, source.labels, "test", Place(sample=True))


def test_a_run_without_a_recorded_place_is_not_judged_on_mnist():
    training = {"data": {"source": "my digits", "count": 3, "sha256": "0"}}
    with pytest.raises(DataError, match=re.escape("trained on 'my digits'")):
        load_recorded(training, (3, 5), "test")
