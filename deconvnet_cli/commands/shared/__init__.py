"""Options that several commands share, and the parts of long commands."""
