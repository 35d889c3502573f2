"""Proofs: real damage done to real processes, and what must hold afterwards. `make proof-crash` runs them whole."""
