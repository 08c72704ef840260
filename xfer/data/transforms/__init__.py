"""From a decoded picture to what the net is shown."""
