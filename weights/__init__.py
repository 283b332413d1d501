"""The weights that ship with deconvnet; installed as the package ``deconvnet_weights``."""
