"""Identity: users, organisations, memberships and API keys."""
