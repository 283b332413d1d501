"""Files that are written beside a label PNG."""
