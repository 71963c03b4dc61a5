"""Which steps a preprocessor_config.json asks for, as the image processors of transformers would take them.

A key that is missing means what the named class says: sizes, filters and colours differ from one to the next.
null is a value of its own: it turns a step off, and a step that needs the value is refused. Classes whose steps
we do not take are refused, and so is a step that the model cannot follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from PIL import Image

from inference.engines.base import UnloadableVersion

FILE = "preprocessor_config.json"
MAX_SIDE = 2048
# From this side on, ConvNeXT's processor squeezes the whole picture instead of cropping it.
CONVNEXT_SQUEEZES_FROM = 384
PROCESSORS: Mapping[str, str] = MappingProxyType({
    "Beit": "beit", "Bit": "bit", "CLIP": "clip", "ConvNext": "convnext", "DeiT": "deit", "MobileViT": "mobilevit",
    "Siglip": "siglip", "ViT": "vit",
})  # fmt: skip
# These take no part in normalising, whatever their config says.
_NEVER_NORMALISES = frozenset({"MobileViT"})
Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Steps in their order; a step that is None is left out. Sizes are (height, width).

    `shortest_edge` resizes with the sides' proportion kept, instead of `resize`. `flip` turns RGB into BGR.
    """

    channels: int
    resize: Size | None
    shortest_edge: int | None = None
    resample: Image.Resampling
    crop: Size | None
    scale: float
    flip: bool = False
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_preprocessing(config: Mapping[str, Any], *, channels: int, image_size: Size) -> Preprocessing:
    """The steps in `config`, which must end at `image_size` (height, width), what the model takes.

    Raises `UnloadableVersion`.
    """
    if channels not in (1, 3):
        raise UnloadableVersion(
            f"config.json: num_channels {channels} is not supported; pictures have 1 or 3."
        )
    name = processor_of(config)
    steps = {**_defaults(name), **config}
    if name == "ConvNext":
        resize, shortest_edge, crop = _read_convnext(steps)
    else:
        resize, shortest_edge, crop = _read_sizes(steps)
    if (crop or resize) != image_size:
        raise UnloadableVersion(f"{FILE} ends at {crop or resize}, the model takes {image_size}.")
    normalize = steps.get("do_normalize", True) and name not in _NEVER_NORMALISES
    return Preprocessing(
        channels=channels,
        resize=resize,
        shortest_edge=shortest_edge,
        resample=_read_resample(steps["resample"]),
        crop=crop,
        scale=_read_number("rescale_factor", steps.get("rescale_factor", 1 / 255))
        if steps.get("do_rescale", True)
        else 1.0,
        flip=_read_flip(steps, name, channels),
        mean=_read_numbers("image_mean", steps["image_mean"], channels) if normalize else (0.0,),
        std=_read_numbers("image_std", steps["image_std"], channels) if normalize else (1.0,),
    )


def processor_of(config: Mapping[str, Any]) -> str:
    """The family of the class that `config` names, ViT's where it names none. Raises `UnloadableVersion`."""
    named = config.get("image_processor_type") or config.get("feature_extractor_type")
    if named is None:
        return "ViT"
    family = str(named).removesuffix("Fast").removesuffix("Pil")
    family = family.removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    if family not in PROCESSORS or not isinstance(named, str):
        raise UnloadableVersion(
            f"{FILE} names the image processor {str(named)[:80]!r}; supported are those of "
            f"{', '.join(sorted(PROCESSORS))}."
        )
    return family


def _defaults(name: str) -> dict[str, Any]:
    """What the class of transformers says for keys that a config leaves out."""
    module = import_module(f"transformers.models.{PROCESSORS[name]}.image_processing_pil_{PROCESSORS[name]}")
    own = getattr(module, f"{name}ImageProcessorPil")
    names = (
        "do_resize", "size", "default_to_square", "resample", "do_center_crop", "crop_size", "crop_pct", "do_rescale",
        "do_normalize", "image_mean", "image_std", "do_flip_channel_order",
    )  # fmt: skip
    found = {key: getattr(own, key, None) for key in names}
    return {key: value for key, value in found.items() if value is not None}


def _read_sizes(steps: Mapping[str, Any]) -> tuple[Size | None, int | None, Size | None]:
    crop = _read_size(steps["crop_size"]) if steps.get("do_center_crop", False) else None
    if not steps.get("do_resize", True):
        return None, None, crop
    size = steps["size"]
    if type(size) is int and not steps.get("default_to_square", True):
        size = {"shortest_edge": size}
    if isinstance(size, Mapping) and size.get("shortest_edge") is not None:
        if size.keys() - {"shortest_edge"}:
            raise UnloadableVersion(f"{FILE}: size {size!r} is not supported.")
        return None, _read_side(size["shortest_edge"]), crop
    return _read_size(size), None, crop


def _read_convnext(steps: Mapping[str, Any]) -> tuple[Size | None, int | None, Size | None]:
    """Below 384 the shortest edge becomes a bit longer than wanted, and the middle is cut out."""
    if steps.get("do_center_crop", False):
        raise UnloadableVersion(f"{FILE}: do_center_crop beside crop_pct is not supported.")
    if not steps.get("do_resize", True):
        return None, None, None
    size = steps["size"]
    side = _read_side(size.get("shortest_edge") if isinstance(size, Mapping) else size)
    if side >= CONVNEXT_SQUEEZES_FROM:
        return (side, side), None, None
    share = _read_number("crop_pct", steps["crop_pct"])
    if not 0 < share <= 1:
        raise UnloadableVersion(f"{FILE}: crop_pct must lie above 0 and be at most 1.")
    return None, _read_side(int(side / share)), (side, side)


def _read_flip(steps: Mapping[str, Any], name: str, channels: int) -> bool:
    flip = bool(steps.get("do_flip_channel_order", False))
    if flip and (name != "MobileViT" or channels != 3):
        raise UnloadableVersion(
            f"{FILE}: do_flip_channel_order is a step of MobileViT's processor on three colours only."
        )
    return flip


def _read_side(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_SIDE:
        raise UnloadableVersion(f"{FILE}: the side {str(value)[:40]} must be from 1 to {MAX_SIDE} pixels.")
    return value


def _read_size(value: Any) -> Size:
    if isinstance(value, list | tuple) and len(value) == 2:
        height, width = value
    elif isinstance(value, Mapping) and value.keys() <= {"height", "width"}:
        height, width = value.get("height"), value.get("width")
    else:
        height, width = value, value
    if type(height) is not int or type(width) is not int:
        raise UnloadableVersion(f"{FILE}: size {str(value)[:80]} is not a height and a width.")
    return _read_side(height), _read_side(width)


def _read_resample(value: Any) -> Image.Resampling:
    try:
        return Image.Resampling(value)
    except ValueError as error:
        raise UnloadableVersion(f"{FILE}: unknown resample {value!r}.") from error


def _read_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise UnloadableVersion(f"{FILE}: {name} must be a number.")
    return float(value)


def _read_numbers(name: str, value: Any, channels: int) -> tuple[float, ...]:
    is_listed = isinstance(value, Sequence) and not isinstance(value, str)
    values = list(value) if is_listed else [value] * channels
    if len(values) == 3 and channels == 1 and len(set(values)) == 1:
        values = values[:1]
    numbers = tuple(_read_number(name, each) for each in values)
    if len(numbers) != channels or (name == "image_std" and 0.0 in numbers):
        raise UnloadableVersion(f"{FILE}: {name} must be {channels} usable numbers.")
    return numbers
