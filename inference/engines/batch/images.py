"""From encoded images to pixel tensors, as a preprocessor_config.json describes it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from inference.engines.base import RequestRefused, UnloadableVersion

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 2**24
MAX_SIDE = 2048
Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Steps in their order; a step that is None is left out. Sizes are (height, width)."""

    channels: int
    resize: Size | None
    resample: Image.Resampling
    crop: Size | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


def decode(data: bytes) -> Image.Image:
    """The first frame, upright. Raises `RequestRefused` for what is broken, too large or another format."""
    if len(data) > MAX_BYTES:
        raise RequestRefused(f"the image has {len(data)} bytes, at most {MAX_BYTES} are taken.")
    try:
        with warnings.catch_warnings():
            # Our own limit below is stricter than the size that Pillow warns about.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(data), formats=FORMATS)
        # Only the header is read so far, so a bomb is still folded up.
        if image.width * image.height > MAX_PIXELS:
            raise RequestRefused(f"the image is {image.width} x {image.height}, over {MAX_PIXELS} pixels.")
        image.load()
        return ImageOps.exif_transpose(image)
    except Image.DecompressionBombError as error:
        raise RequestRefused(f"the image has over {MAX_PIXELS} pixels.") from error
    except (OSError, ValueError, SyntaxError, IndexError, EOFError) as error:
        raise RequestRefused(f"this is no readable {', '.join(FORMATS)} image.") from error


def to_pixels(image: Image.Image, steps: Preprocessing) -> torch.Tensor:
    """Float32 [channels, height, width]: resized, cropped about the centre, scaled and normalised."""
    image = image.convert("L" if steps.channels == 1 else "RGB")
    if steps.resize is not None:
        height, width = steps.resize
        image = image.resize((width, height), resample=steps.resample)
    if steps.crop is not None:
        image = _crop(image, steps.crop)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32))
    pixels = pixels.reshape(image.height, image.width, steps.channels).permute(2, 0, 1) * steps.scale
    mean, std = torch.tensor(steps.mean).view(-1, 1, 1), torch.tensor(steps.std).view(-1, 1, 1)
    return ((pixels - mean) / std).contiguous()


def _crop(image: Image.Image, size: Size) -> Image.Image:
    height, width = size
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def read_preprocessing(config: Mapping[str, Any], *, channels: int, image_size: Size) -> Preprocessing:
    """The steps in `config`, which must end at `image_size` (height, width), what the model takes.

    Missing keys mean what they mean to transformers' image processors of ViT. Raises `UnloadableVersion`.
    """
    resize = _read_size(config.get("size", 224)) if config.get("do_resize", True) else None
    crop = _read_size(config.get("crop_size", 224)) if config.get("do_center_crop", False) else None
    if (crop or resize) != image_size:
        raise UnloadableVersion(
            f"preprocessor_config.json ends at {crop or resize}, the model takes {image_size}."
        )
    normalize = config.get("do_normalize", True)
    return Preprocessing(
        channels=channels,
        resize=resize,
        resample=_read_resample(config.get("resample", Image.Resampling.BILINEAR)),
        crop=crop,
        scale=_read_number("rescale_factor", config.get("rescale_factor", 1 / 255))
        if config.get("do_rescale", True)
        else 1.0,
        mean=_read_numbers("image_mean", config.get("image_mean", 0.5), channels) if normalize else (0.0,),
        std=_read_numbers("image_std", config.get("image_std", 0.5), channels) if normalize else (1.0,),
    )


def _read_size(value: Any) -> Size:
    height, width = (
        (value.get("height"), value.get("width")) if isinstance(value, Mapping) else (value, value)
    )
    if type(height) is not int or type(width) is not int or not 1 <= height <= MAX_SIDE >= width >= 1:
        raise UnloadableVersion(f"preprocessor_config.json: size {value!r} is not a height and a width.")
    return height, width


def _read_resample(value: Any) -> Image.Resampling:
    try:
        return Image.Resampling(value)
    except ValueError as error:
        raise UnloadableVersion(f"preprocessor_config.json: unknown resample {value!r}.") from error


def _read_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise UnloadableVersion(f"preprocessor_config.json: {name} must be a number.")
    return float(value)


def _read_numbers(name: str, value: Any, channels: int) -> tuple[float, ...]:
    values = value if isinstance(value, Sequence) else [value] * channels
    numbers = tuple(_read_number(name, each) for each in values)
    if len(numbers) != channels or (name == "image_std" and 0.0 in numbers):
        raise UnloadableVersion(f"preprocessor_config.json: {name} must be {channels} usable numbers.")
    return numbers
