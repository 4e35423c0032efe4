"""From image files to what the network reads."""

import io
import subprocess
import sys
from collections import Counter
from contextlib import suppress

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from photos import KINDS, MNIST_FORM, on_paper, photograph
from PIL import Image
from running import ROOT, sample_digits

from model.package_directory import newest_package
from service.codecs.preprocessing import NotADigitError, is_blank, read_image_file

MOST_PIXELS = 20_000_000


def files_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def one(content: bytes):
    return MNIST_FORM.one(read_image_file(content, MOST_PIXELS))


def as_png(digit: np.ndarray) -> bytes:
    return files_of(Image.fromarray((digit * 255).round().astype(np.uint8)))


@pytest.fixture(scope="module")
def ten() -> tuple[np.ndarray, np.ndarray]:
    """Digits of all classes: images (100, 28, 28) in [0, 1] and labels."""
    images, labels = sample_digits()
    chosen = np.arange(7, 5000, 50)
    return (images[chosen] / 255).astype(np.float32).reshape(-1, 28, 28), labels[chosen]


@pytest.fixture(scope="module")
def labels_of():
    session = onnxruntime.InferenceSession(
        newest_package(ROOT / "artifacts", "mnist-10").directory / "predict.onnx"
    )

    def labels(images):
        batch = np.stack(images).astype(np.float32)[:, None]
        return session.run(["logits"], {"image": batch})[0].argmax(axis=1)

    return labels


QUICK = ("pencil", "shadow", "squared paper")


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_digits_are_recognised_on_photographs(kind, ten, labels_of):
    images, labels = ten[0][::4], ten[1][::4]
    seen = [one(photograph(image, kind, seed)).pixels for seed, image in enumerate(images)]
    assert (labels_of(seen) == labels).sum() >= 24  # of 25


def test_a_file_in_mnists_form_is_taken_bit_for_bit(ten):
    for digit in ten[0]:
        prepared = one(as_png(digit))
        assert prepared.steps == ()
        assert np.array_equal(prepared.pixels, ((digit * 255).round() / np.float32(255)).astype(np.float32))


def test_an_adversarial_image_in_a_file_is_not_cleaned(ten):
    noisy = np.clip(ten[0][3] + np.random.default_rng(0).uniform(0, 0.3, (28, 28)), 0, 1)
    assert one(as_png(noisy)).steps == ()


def test_an_inverted_file_gives_the_same_pixels(ten):
    for digit in ten[0][:20]:
        prepared = one(as_png(1 - digit))
        assert prepared.steps == ("inverted",)
        assert prepared.pixels == pytest.approx(digit, abs=1e-6)


@pytest.mark.parametrize(("paper", "ink"), [(0.4, 0.1), (0.45, 0.25), (0.6, 0.9), (0.7, 1.0), (0.3, 0.8)])
def test_a_digit_on_grey_is_seen_whether_it_is_darker_or_lighter(paper, ink, ten, labels_of):
    seen = [one(as_png(paper + (ink - paper) * digit)).pixels for digit in ten[0][:20]]
    assert (labels_of(seen) == ten[1][:20]).sum() >= 18


@given(arrays(np.uint8, (28, 28), elements=st.sampled_from([0, 40, 100, 101, 126, 127, 128, 160, 255])))
def test_a_file_of_the_networks_size_is_an_image_of_it_or_refused(pixels):
    with suppress(NotADigitError):
        prepared = one(files_of(Image.fromarray(pixels))).pixels
        assert prepared.shape == (28, 28)
        assert np.isfinite(prepared).all()


def test_a_digit_off_its_centre_is_put_back(ten):
    shifted = np.roll(ten[0], (4, -3), axis=(1, 2))
    whole = ~(ten[0][:, -4:].any(axis=(1, 2)) | ten[0][:, :, :3].any(axis=(1, 2)))
    assert whole.sum() >= 40
    for digit, moved in zip(ten[0][whole], shifted[whole], strict=True):
        prepared = one(as_png(moved))
        assert "centred by mass" in prepared.steps
        assert prepared.pixels == pytest.approx(digit, abs=0.005)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "P"), ("JPEG", "L"), ("WEBP", "RGB")])
def test_formats_show_the_same_digit(kind, mode, ten, labels_of):
    images = []
    for digit in ten[0][::10]:
        paper = Image.new("L", (300, 240), "white")
        paper.paste(Image.fromarray(((1 - digit) * 255).astype(np.uint8)).resize((180, 180)), (90, 40))
        images.append(one(files_of(paper.convert(mode), kind)).pixels)
    assert (labels_of(images) == ten[1][::10]).all()


def test_the_cameras_orientation_is_applied(ten):
    upright = Image.open(io.BytesIO(photograph(ten[0][40], "pen", 1)))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned right by 90 degrees
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    straight, put_right = one(files_of(upright)), one(files_of(turned, exif=exif))
    assert "turned upright" in put_right.steps
    assert put_right.pixels == pytest.approx(straight.pixels, abs=0.02)
    assert put_right.box == straight.box


def test_what_is_transparent_is_paper(ten):
    cover = Image.fromarray((ten[0][25] * 255).astype(np.uint8)).resize((200, 200))
    ink = Image.new("RGBA", cover.size, (0, 0, 90, 0))
    ink.putalpha(cover)
    on_white = Image.composite(
        Image.new("RGB", cover.size, (0, 0, 90)), Image.new("RGB", cover.size, "white"), cover
    )
    transparent, opaque = one(files_of(ink)), one(files_of(on_white))
    assert "transparent parts white" in transparent.steps
    assert transparent.pixels == pytest.approx(opaque.pixels, abs=0.01)


def test_sixteen_bits_are_kept():
    values = np.zeros((28, 28), np.uint16)
    values[4:24, 11:17] = 60_001
    prepared = one(files_of(Image.fromarray(values)))
    assert prepared.pixels[14, 14] == pytest.approx(60_001 / 65_535, abs=1e-6)


def test_a_photograph_of_twelve_megapixels_says_where_the_digit_was(ten, labels_of):
    small = Image.open(io.BytesIO(photograph(ten[0][70], "pen", 3)))
    large = small.resize((small.width * 6, small.height * 6), Image.Resampling.BICUBIC)
    here, there = one(files_of(small, quality=95)), one(files_of(large, "JPEG"))
    assert there.box == pytest.approx([6 * value for value in here.box], abs=40)
    assert labels_of([there.pixels])[0] == ten[1][70]


@pytest.mark.parametrize("tone", [0, 128, 255])
@pytest.mark.parametrize("size", [(28, 28), (640, 480)])
def test_blank_images_are_refused_whatever_their_size(tone, size):
    with pytest.raises(NotADigitError, match="blank"):
        one(files_of(Image.new("L", size, tone)))
    assert is_blank(np.full((28, 28), tone / 255, np.float32))


@pytest.mark.parametrize("kind", ["pen", "falling light", "vignette", "noise", "jpeg", "dark background"])
def test_a_photograph_of_an_empty_sheet_is_blank(kind):
    for seed in range(5):
        with pytest.raises(NotADigitError, match="blank"):
            one(photograph(np.zeros((28, 28), np.float32), kind, seed))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_row_of_digits_is_an_error_with_boxes_and_can_be_split(count, ten, labels_of):
    right = 0
    for start in range(5):
        digits = [ten[0][(17 * start + 21 * index) % 100] for index in range(count)]
        content = on_paper(digits, seed=start)
        with pytest.raises(NotADigitError, match=f"{count} signs were found side by side") as refused:
            one(content)
        assert len(refused.value.boxes) == count
        parts = MNIST_FORM.all(read_image_file(content, MOST_PIXELS))
        assert [part.box for part in parts] == list(refused.value.boxes)
        assert [part.box.left for part in parts] == sorted(part.box.left for part in parts)
        expected = [ten[1][(17 * start + 21 * index) % 100] for index in range(count)]
        right += (labels_of([part.pixels for part in parts]) == expected).sum()
    assert right >= 5 * count - 1


def test_two_rows_are_read_from_the_top(ten):
    rows = [Image.open(io.BytesIO(on_paper([ten[0][30], ten[0][50]], 240, 480, seed))) for seed in (0, 1)]
    sheet = Image.new("RGB", (480, 480))
    sheet.paste(rows[0], (0, 0))
    sheet.paste(rows[1], (0, 240))
    boxes = [part.box for part in MNIST_FORM.all(read_image_file(files_of(sheet), MOST_PIXELS))]
    assert [(box.top > 240, box.left > 240) for box in boxes] == [
        (False, False), (False, True), (True, False), (True, True)
    ]  # fmt: skip


def test_a_page_of_text_is_an_error(ten):
    lines = [
        Image.open(io.BytesIO(on_paper(list(ten[0][12 * i : 12 * i + 12]), 80, 900, i))) for i in range(6)
    ]
    page = Image.new("RGB", (900, 480), (235, 235, 235))
    for index, line in enumerate(lines):
        page.paste(line, (0, 80 * index))
    for ask in (MNIST_FORM.one, MNIST_FORM.all):
        with pytest.raises(NotADigitError, match="a page of text"):
            ask(read_image_file(files_of(page), MOST_PIXELS))


def test_large_files_are_refused_before_they_are_unpacked():
    with pytest.raises(NotADigitError, match="4000 x 3000 pixels are too many"):
        read_image_file(files_of(Image.new("L", (4000, 3000))), 10**7)


def test_other_formats_are_refused():
    with pytest.raises(NotADigitError, match="not a readable PNG, JPEG or WebP"):
        read_image_file(files_of(Image.new("L", (28, 28)), "GIF"), MOST_PIXELS)


def test_photographs_are_the_same_for_the_same_seed(ten):
    assert photograph(ten[0][0], "shadow", 5) == photograph(ten[0][0], "shadow", 5)
    assert Counter(photograph(ten[0][0], "shadow", seed) for seed in range(3)).most_common(1)[0][1] == 1


PEAK_OF_PICTURES = """
import sys
from pathlib import Path
from service.codecs.json_images import OpenedImages
from service.codecs.preprocessing import HandwrittenDigit
from service.settings import Settings
pictures = [Path(sys.argv[1]).read_bytes()] * int(sys.argv[2])
opened = OpenedImages(HandwrittenDigit(28, 28, 20), pictures, 16, Settings())
opened.decode()
peak, = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_many_pictures_only_one_is_unpacked_at_a_time(tmp_path, kind):
    pixels = np.full((1500, 1500, 3), 220, np.uint8)  # 7 MB; WebP's reader takes three times as much
    pixels[500:1000, 700:780] = 20
    (tmp_path / "picture").write_bytes(files_of(Image.fromarray(pixels), kind))

    def peak_megabytes(pictures: int) -> int:
        command = [sys.executable, "-c", PEAK_OF_PICTURES, tmp_path / "picture", str(pictures)]
        return int(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)

    assert peak_megabytes(12) - peak_megabytes(1) < 50
