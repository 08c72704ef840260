"""Sources: pictures with what is known about them, one by one."""
