"""From encoded images to pixel tensors."""

import warnings
from io import BytesIO
from math import ceil

import numpy as np
import torch
from PIL import Image

from inference.engines.base import RequestRefused
from inference.engines.batch.preprocessing import Preprocessing, Size

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 2**24
ORIENTATION = 0x0112
# How a camera was held, as EXIF numbers it; any other value leaves the picture as it lies.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
# Wider numbers say nothing of where white lies, so that they cannot be brought to eight bits.
UNSCALED = frozenset({"I", "F"})


def decode(data: bytes) -> Image.Image:
    """The first frame, upright, of eight bits a channel.

    Raises `RequestRefused` for what is broken, too large or another format.
    """
    if len(data) > MAX_BYTES:
        raise RequestRefused(f"the image has {len(data)} bytes, at most {MAX_BYTES} are taken.")
    try:
        with warnings.catch_warnings():
            # Our own limit below is stricter than the size that Pillow warns about; odd EXIF it skips.
            warnings.simplefilter("ignore")
            image = Image.open(BytesIO(data), formats=FORMATS)
            # Only the header is read so far, so a bomb is still folded up.
            if image.width * image.height > MAX_PIXELS:
                raise RequestRefused(
                    f"the image is {image.width} x {image.height}, over {MAX_PIXELS} pixels."
                )
            image.load()
            return _to_eight_bits(_turn_upright(image))
    except Image.DecompressionBombError as error:
        raise RequestRefused(f"the image has over {MAX_PIXELS} pixels.") from error
    except (RequestRefused, MemoryError):
        raise
    except Exception as error:  # a decoder raises whatever a stranger's bytes lead it to
        raise RequestRefused(f"this is no readable {', '.join(FORMATS)} image.") from error


def _turn_upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says. EXIF that cannot be read says nothing."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # broken in ways that only EXIF can be; the picture itself is sound
        return image
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion would clip everything above 255 to white."""
    if image.mode in SIXTEEN_BITS:
        return Image.fromarray((np.asarray(image).astype(np.uint32) * 255 + 32_767) // 65_535).convert("L")
    if image.mode in UNSCALED:
        raise RequestRefused(
            f"the image has numbers of mode {image.mode}, of which none is white; save it with 8 or 16 bits."
        )
    return image


def to_pixels(image: Image.Image, steps: Preprocessing) -> torch.Tensor:
    """Float32 [channels, height, width]: resized, cropped about the centre, scaled and normalised.

    Raises `RequestRefused` for a picture so long that it would outgrow the limit on its way.
    """
    image = image.convert("L" if steps.channels == 1 else "RGB")
    size = steps.resize if steps.shortest_edge is None else _keep_proportion(image, steps.shortest_edge)
    if size is not None:
        height, width = size
        image = image.resize((width, height), resample=steps.resample)
    values = np.array(image, dtype=np.float32).reshape(image.height, image.width, steps.channels)
    pixels = torch.from_numpy(values).permute(2, 0, 1)
    if steps.crop is not None:
        pixels = _crop(pixels, steps.crop)
    if steps.flip:
        pixels = pixels.flip(0)
    mean, std = torch.tensor(steps.mean).view(-1, 1, 1), torch.tensor(steps.std).view(-1, 1, 1)
    return ((pixels * steps.scale - mean) / std).contiguous()


def _keep_proportion(image: Image.Image, shortest: int) -> Size:
    short, long = sorted(image.size)
    longest = int(shortest * long / short)
    if shortest * longest > MAX_PIXELS:
        raise RequestRefused(f"the image is {image.width} x {image.height}: too long for its breadth.")
    return (longest, shortest) if image.width <= image.height else (shortest, longest)


def _crop(pixels: torch.Tensor, size: Size) -> torch.Tensor:
    """The middle [channels, *size]; a smaller picture is framed in black."""
    (height, width), (tall, wide) = size, pixels.shape[1:]
    top, left = ceil(max(height - tall, 0) / 2), ceil(max(width - wide, 0) / 2)
    framed = torch.zeros(pixels.shape[0], max(height, tall), max(width, wide))
    framed[:, top : top + tall, left : left + wide] = pixels
    top, left = (tall - height) // 2 + top, (wide - width) // 2 + left
    return framed[:, max(top, 0) : max(top, 0) + height, max(left, 0) : max(left, 0) + width]
