"""Profiles as something to look at."""
