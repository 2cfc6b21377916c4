"""The parts of `scripts/check/clients`."""
