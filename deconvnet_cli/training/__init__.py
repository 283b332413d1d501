"""Two-stage training (paper section 4) and all that a run needs."""
