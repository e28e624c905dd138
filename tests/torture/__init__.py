"""Torture: campaigns of faults, in a short form in the suite and in a long form as `just torture`."""
