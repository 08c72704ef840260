"""ImageNet in each form in which people have it."""
