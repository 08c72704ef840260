"""What tasks that say something of every pixel are made of."""
