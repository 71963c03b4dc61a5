"""Image classification: decoding within limits, preprocessing as transformers does it, broken images alone."""

import json
import struct
import zlib
from base64 import b64encode
from importlib import import_module
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from transformers.image_utils import load_image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from inference.engines.base import RequestRefused, UnloadableVersion
from inference.engines.batch import preprocessing
from inference.engines.batch.convnet import ConvNetConfig, MercatoConvNet
from inference.engines.batch.images import _to_eight_bits, decode, to_pixels
from inference.engines.batch.preprocessing import read_preprocessing
from tests.inference.engines.batch.models import edit_json, write_model

TASK = "image-classification"


def picture(width: int = 50, height: int = 40, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    noise = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def forge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be huge."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + block(b"IHDR", head)
        + block(b"IDAT", zlib.compress(b"\0"))
        + block(b"IEND", b"")
    )


@pytest.fixture
def vit(tmp_path):
    model = write_model(tmp_path, "vit", "ForImageClassification", id2label={0: "cat", 1: "dog", 2: "fox"})
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    return tmp_path, model


def test_vit_scores_equal_transformers_on_every_format(load, vit):
    directory, model = vit
    processor = ViTImageProcessorPil.from_pretrained(directory)
    bench = load(directory, TASK)
    for form in ("PNG", "JPEG", "WEBP", "GIF"):
        data = encode(picture(), form)
        pixels = processor(Image.open(BytesIO(data)).convert("RGB"), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            expected = model(pixel_values=pixels).logits.softmax(dim=-1)[0].tolist()
        (found,) = bench.ask(form, [data]).output["labels"]
        scores = {each["label"]: each["score"] for each in found}
        assert [scores[name] for name in ("cat", "dog", "fox")] == pytest.approx(expected, abs=1e-5)


def test_images_are_counted_and_batched(load, vit, hold):
    bench = load(vit[0], TASK)
    gate = hold(bench)
    bench.submit("first", [encode(picture())])
    assert gate.reached.wait(10)
    for index in range(5):
        bench.submit(f"r{index}", [encode(picture(20 + index, 30)), encode(picture(9, 9))])
    gate.open.set()
    usage = [bench.sink.last(f"r{index}").usage for index in range(5)]
    assert [each["images"] for each in usage] == [2] * 5
    assert bench.engine.stats().steps == 2
    assert "input_tokens" not in usage[0]


@pytest.mark.parametrize(
    "steps",
    [
        {"do_resize": True, "size": {"height": 32, "width": 32}, "resample": 3},
        {
            "size": {"height": 48, "width": 40},
            "do_center_crop": True,
            "crop_size": {"height": 32, "width": 32},
        },
        {"size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.1]},
        {"size": {"height": 32, "width": 32}, "do_normalize": False},
        {"size": {"height": 32, "width": 32}, "do_rescale": False, "do_normalize": False},
    ],
    ids=["bicubic", "crop", "normalise", "plain", "unscaled"],
)
def test_preprocessing_equals_transformers(steps):
    expected = ViTImageProcessorPil(**steps)(picture(), return_tensors="pt")["pixel_values"][0]
    found = to_pixels(picture(), read_preprocessing(steps, channels=3, image_size=(32, 32)))
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "steps",
    [
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}},
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.6},
        {"image_processor_type": "ConvNextFeatureExtractor", "size": 32, "resample": 2},
        {"image_processor_type": "DeiTImageProcessor", "size": 40, "crop_size": {"height": 32, "width": 32}},
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 24, "crop_size": 32},
        {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 41}, "crop_size": 32},
        {
            "image_processor_type": "MobileViTImageProcessor",
            "size": 36,
            "crop_size": 32,
            "do_normalize": True,
        },
        {
            "image_processor_type": "MobileViTImageProcessor",
            "size": 36,
            "crop_size": 32,
            "do_flip_channel_order": False,
        },
        {"image_processor_type": "BeitImageProcessor", "size": 32, "do_center_crop": False},
        {"image_processor_type": "SiglipImageProcessorFast", "size": [32, 32]},
        {"size": 32, "do_normalize": None, "do_rescale": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(50, 40), (40, 51), (7, 5), (33, 33)], ids=str)
def test_every_processor_prepares_as_its_class_in_transformers(steps, size):
    family = preprocessing.processor_of(steps)
    module = import_module(
        f"transformers.models.{preprocessing.PROCESSORS[family]}.image_processing_pil_{family.lower()}"
    )
    settings = {key: value for key, value in steps.items() if not key.endswith("_type")}
    own = getattr(module, f"{family}ImageProcessorPil")(**settings)
    expected = own(picture(*size), return_tensors="pt")["pixel_values"][0]
    found = to_pixels(picture(*size), read_preprocessing(steps, channels=3, image_size=(32, 32)))
    torch.testing.assert_close(found, torch.as_tensor(expected).float(), atol=1e-5, rtol=1e-5)


def test_a_thread_of_a_picture_does_not_outgrow_the_limit():
    steps = read_preprocessing(
        {"image_processor_type": "CLIPImageProcessor", "size": 224, "crop_size": 32},
        channels=3,
        image_size=(32, 32),
    )
    with pytest.raises(RequestRefused, match="too long"):
        to_pixels(Image.new("RGB", (1, 2_000_000)), steps)


def test_a_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encode(picture(50, 40), "JPEG", exif=exif)).size == (40, 50)


def tagged(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A JPEG of 50 x 40 with an EXIF block of these entries: tag, type, count, four bytes."""
    block = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in sorted(entries))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + block + b"\0\0\0\0"
    plain = encode(picture(), "JPEG", quality=95)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]


TURNED = (0x0112, 3, 1, struct.pack("<HH", 6, 0))


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        ([TURNED, (0x0100, 2, 4, b"abc\0")], (40, 50)),
        ([TURNED, (0x0100, 7, 4, b"abcd")], (40, 50)),
        ([TURNED, (0x011A, 2, 4, b"72\0\0")], (40, 50)),
        ([TURNED, (0x0128, 11, 1, struct.pack("<f", 2.5))], (40, 50)),
        ([TURNED, (0x0111, 2, 4, b"abc\0")], (40, 50)),
        ([TURNED, (0x0213, 2, 2, b"1\0\0\0")], (40, 50)),
        ([TURNED, (0x8769, 4, 1, struct.pack("<I", 0x7FFFFFFF))], (40, 50)),
        ([(0x0112, 1, 1, b"\x06\0\0\0")], (50, 40)),
        ([(0x0112, 2, 2, b"6\0\0\0")], (50, 40)),
        ([(0x0112, 3, 1, struct.pack("<HH", 99, 0))], (50, 40)),
        ([(0x0112, 5, 1, struct.pack("<I", 8))], (50, 40)),
        ([(0x0112, 3, 2, struct.pack("<HH", 6, 6))], (40, 50)),
    ],
    ids=str,
)
def test_odd_exif_values_spoil_no_sound_picture(entries, size):
    assert decode(tagged(*entries)).size == size


@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_turned_as_pillow_turns_it(orientation):
    data = tagged((0x0112, 3, 1, struct.pack("<HH", orientation, 0)))
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert np.array_equal(np.array(decode(data)), np.array(expected))


def test_sixteen_bits_become_eight_without_turning_white():
    grey = np.linspace(0, 65_535, 48 * 32).astype(np.uint16).reshape(32, 48)
    data = encode(Image.fromarray(grey))
    assert Image.open(BytesIO(data)).mode.startswith("I;16")
    found = np.array(decode(data).convert("RGB"))[..., 0]
    assert np.array_equal(found, np.round(grey / 257).astype(np.uint8))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_white_are_refused_by_their_mode(mode):
    with pytest.raises(RequestRefused, match=f"mode {mode}"):
        _to_eight_bits(Image.new(mode, (4, 4)))


MODES = {
    "1": ("PNG", {}),
    "L": ("PNG", {}),
    "LA": ("PNG", {}),
    "P": ("PNG", {"transparency": 3}),
    "RGB": ("PNG", {}),
    "RGBA": ("WEBP", {"lossless": True}),
    "CMYK": ("JPEG", {"quality": 95}),
    "YCbCr": ("JPEG", {"quality": 95}),
}


@pytest.mark.parametrize("mode", MODES)
def test_pictures_of_every_mode_are_seen_as_transformers_sees_them(mode):
    form, options = MODES[mode]
    data = encode(picture(51, 37).convert(mode), form, **options)
    expected = load_image(f"data:image/any;base64,{b64encode(data).decode()}")
    assert np.array_equal(np.array(decode(data).convert("RGB")), np.array(expected))


def test_of_an_animation_the_first_frame_counts():
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert decode(data).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        encode(picture())[:-200],
        encode(picture(), "BMP"),
        encode(picture(), "TIFF"),
    ],
    ids=["empty", "text", "cut off", "bmp", "tiff"],
)
def test_broken_and_foreign_images_are_refused(data):
    with pytest.raises(RequestRefused, match="no readable"):
        decode(data)


@pytest.mark.parametrize("side", [40_000, 5_000])
def test_a_bomb_is_refused_by_its_header_alone(side):
    with pytest.raises(RequestRefused, match="pixels"):
        decode(forge_png(side, side))


def test_too_many_bytes_are_refused():
    with pytest.raises(RequestRefused, match="bytes"):
        decode(b"\0" * (20 * 2**20 + 1))


def test_a_refused_image_names_its_place_and_leaves_others_alone(load, vit):
    bench = load(vit[0], TASK)
    bench.submit("good", [encode(picture())])
    with pytest.raises(RequestRefused, match="Item 1"):
        bench.submit("bad", [encode(picture()), b"broken"])
    assert bench.sink.last("good").finish_reason == "stop"
    with pytest.raises(RequestRefused):
        bench.submit("texts", [[1, 2]])


@pytest.mark.parametrize(
    "steps",
    [
        {"size": {"height": 64, "width": 64}},
        {"size": {"shortest_edge": 32}},
        {"size": {"height": 10**9, "width": 32}},
        {"size": {"height": 32, "width": 32}, "image_mean": [0.5]},
        {"size": {"height": 32, "width": 32}, "image_std": [0, 1, 1]},
        {"size": {"height": 32, "width": 32}, "resample": 99},
        {"size": {"height": 32, "width": 32}, "rescale_factor": "a"},
        {"size": {"height": 32, "width": 32}, "do_flip_channel_order": True},
        {"size": 32, "image_mean": None},
        {"size": None},
        {"size": 32, "resample": None},
        {"size": 32, "image_processor_type": "MysteryImageProcessor"},
        {"size": {"shortest_edge": 32}, "image_processor_type": "ConvNextImageProcessor", "crop_pct": 0},
        {"size": {"shortest_edge": 32, "longest_edge": 64}, "do_center_crop": True, "crop_size": 32},
    ],
)
def test_steps_that_do_not_fit_the_model_are_refused(steps):
    with pytest.raises(UnloadableVersion):
        read_preprocessing(steps, channels=3, image_size=(32, 32))


@pytest.fixture
def convnet(tmp_path):
    torch.manual_seed(2)
    model = MercatoConvNet(ConvNetConfig()).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(ConvNetConfig().to_json()))
    steps = {"size": {"height": 8, "width": 8}, "image_mean": [0.3], "image_std": [0.4]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(steps))
    return tmp_path, model


def test_our_own_network_reads_grey_and_coloured_images(load, convnet):
    directory, model = convnet
    bench = load(directory, TASK)
    grey = picture(8, 8, "L")
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(grey, dtype=np.float32)).view(1, 1, 8, 8) / 255
        expected = model((pixels - 0.3) / 0.4).logits.softmax(dim=-1)[0]
    found = {each["label"]: each["score"] for each in bench.ask("grey", [encode(grey)]).output["labels"][0]}
    assert [found[str(digit)] for digit in range(10)] == pytest.approx(expected.tolist(), abs=1e-6)
    assert bench.ask("colour", [encode(picture(300, 200), "JPEG")]).finish_reason == "stop"


@pytest.mark.parametrize(
    "changes",
    [
        {"conv_channels": [10**9]},
        {"conv_channels": [8] * 100},
        {"conv_channels": [8, 8, 8, 8]},
        {"conv_channels": "many"},
        {"hidden_size": 10**12},
        {"hidden_size": 64},
        {"kernel_size": 4},
        {"image_size": True},
        {"id2label": {"1": "one"}},
    ],
)
def test_a_network_of_other_sizes_than_its_weights_is_refused(load, convnet, changes):
    edit_json(convnet[0] / "config.json", **changes)
    with pytest.raises(UnloadableVersion):
        load(convnet[0], TASK)
