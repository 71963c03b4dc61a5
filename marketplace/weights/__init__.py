"""The bytes of versions: kept once per content, and cached on the machines that run them."""

from marketplace.weights.cache import directory, version_of
from marketplace.weights.reclaiming import reclaim
from marketplace.weights.storage import exists, open_stored, store

__all__ = ["directory", "exists", "open_stored", "reclaim", "store", "version_of"]
