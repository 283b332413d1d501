"""One photo to one label map: proposals, crops, inference, merge, dense CRF, labels."""
