"""The control API of the shop: listings, versions, uploads, plans, subscriptions."""
