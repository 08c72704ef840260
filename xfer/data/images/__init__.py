"""Picture files: found, decoded, measured."""
