"""What browsers may load, run and reach on our pages, as data for the settings and the middleware."""

from typing import Any

from csp.constants import NONCE, NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

# Scripts carry the answer's nonce; nothing is written inline, neither scripts nor styles.
PAGES: dict[str, Any] = {
    "default-src": [NONE],
    "script-src": [NONCE],
    "style-src": [SELF],
    "img-src": [SELF, "data:", "blob:"],
    "font-src": [SELF],
    "connect-src": [SELF],
    "manifest-src": [SELF],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
    "base-uri": [NONE],
    "object-src": [NONE],
}
# Django's admin and its theme write scripts and styles inline and evaluate expressions; only operators open them.
ADMIN = PAGES | {"script-src": [SELF, UNSAFE_INLINE, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]}
# Pages that are drawn without templates of ours, when nothing else can be: they hold a style of their own.
LAST_RESORT = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

_UNUSED = (
    "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "geolocation", "gyroscope",
    "magnetometer", "microphone", "midi", "payment", "usb", "xr-spatial-tracking",
)  # fmt: skip
# Nobody may use them on our pages, ourselves included.
PERMISSIONS: dict[str, list[str]] = {feature: [] for feature in _UNUSED}
