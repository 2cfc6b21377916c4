"""The parts of `scripts/check/crash`."""
