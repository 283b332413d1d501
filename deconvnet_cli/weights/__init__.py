"""Weights files: reading, writing, cards, the shipped ones, and import from other formats."""
