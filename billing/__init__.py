"""Metering, rating, ledger, credit and invoices."""
