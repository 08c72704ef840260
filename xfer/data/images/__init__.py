"""Picture files: finding, decoding and measuring them."""
