"""A batch on a Ray cluster."""
