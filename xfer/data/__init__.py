"""Pictures from where people have them: sources, decoding, transforms, loaders."""
