"""Attack a running service in every way that was thought of, and tell what each attack did to it."""
