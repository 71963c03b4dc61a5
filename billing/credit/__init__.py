"""What a subscription may still spend: Postgres grants leases, Redis holds and settles inside them."""
