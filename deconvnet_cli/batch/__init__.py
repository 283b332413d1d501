"""Many photos: planning, resuming, running and merging batches."""
