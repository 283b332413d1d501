"""Files and object stores: bounded reading, and writing whole files or nothing."""
