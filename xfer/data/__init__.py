"""Reading pictures from any place: sources, decoding, transforms, loaders."""
