"""The steps of a derivation, for a reader."""
