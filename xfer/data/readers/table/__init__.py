"""Tables of pictures and labels."""
