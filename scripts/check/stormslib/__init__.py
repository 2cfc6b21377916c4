"""The parts of `scripts/check/storms`."""
