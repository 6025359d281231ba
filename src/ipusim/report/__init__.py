"""Trace -> profile: every number that a report shows is derived here, and nowhere twice."""
