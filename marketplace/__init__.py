"""Listings, versions, plans, subscriptions, entitlement and the catalogue."""
