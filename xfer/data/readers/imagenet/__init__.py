"""ImageNet in each form in which it is distributed."""
