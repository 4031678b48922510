"""The page of ``backprop train --report``."""


def write_report(path: str, run: object, options: object) -> None:
    """Write it."""
