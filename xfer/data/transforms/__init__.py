"""From a decoded picture to what the net sees."""
