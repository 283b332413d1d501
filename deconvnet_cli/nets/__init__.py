"""The networks: one module a net, the layers they share, and the registry that builds them."""
