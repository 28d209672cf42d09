"""Figures of all processes of the site, and feeds that one of them produces."""
