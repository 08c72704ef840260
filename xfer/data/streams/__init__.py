"""Pictures that come in sequence, from shards that can't be read by index."""
