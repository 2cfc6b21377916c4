"""The parts of the drain check."""
