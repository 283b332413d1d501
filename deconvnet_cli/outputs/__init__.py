"""Label files, and the files that are written beside them."""
