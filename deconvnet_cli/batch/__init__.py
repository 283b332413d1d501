"""Label many photos: plan, resume, run and merge batches."""
