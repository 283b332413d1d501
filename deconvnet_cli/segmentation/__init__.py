"""Turns one photo into one label map: proposals, crops, inference, merge, dense CRF, labels."""
