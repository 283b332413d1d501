"""Metrics of label maps against ground truth."""
