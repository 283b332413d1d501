"""The fully connected CRF that refines a label map (paper section 5.1)."""
