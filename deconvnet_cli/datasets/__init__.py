"""Data sets of other tools made into VOC trees, and trees looked through for mistakes."""
