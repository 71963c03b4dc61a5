"""What the gateway keeps for minutes so that it can be fetched again: never more than Redis has room for."""

from inference.gateway.kept.results import Kept, Limits, limits

__all__ = ["Kept", "Limits", "limits"]
