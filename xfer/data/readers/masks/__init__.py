"""Pictures with masks beside them."""
