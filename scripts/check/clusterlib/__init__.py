"""The parts of the cluster check."""
