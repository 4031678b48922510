"""What exported dates share."""

CIRCLES = {"month": 12, "weekday": 7, "hour": 24}
"""The parts of a date that go round, with their periods."""
