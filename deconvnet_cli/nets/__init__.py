"""The networks: one module for each, the layers they share, and the registry."""
