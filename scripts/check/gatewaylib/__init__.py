"""The parts of `scripts/check/gateway`."""
