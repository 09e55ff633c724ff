"""Experts that are read from the disk when they are wanted, into memory of a fixed size."""
