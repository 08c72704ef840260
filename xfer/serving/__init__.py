"""A trained model behind a local page: `xfer serve`."""
