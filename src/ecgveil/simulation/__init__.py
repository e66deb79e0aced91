"""The parts of the parametric simulator; the public functions are in `ecgveil.simulate`."""
