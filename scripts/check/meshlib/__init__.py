"""The parts of the mesh check."""
