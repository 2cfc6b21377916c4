"""The parts of `scripts/check/overload`."""
