"""Measurements side by side with peers, run by hand with ``make bench``; never part of the tests."""
