"""Run a batch on a Ray cluster."""
