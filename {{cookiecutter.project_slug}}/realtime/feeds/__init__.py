"""Numbered events in the database, for apps that need no tables of their own."""
