"""Files and object stores: reading within limits, writing whole or not at all."""
