"""Score networks: how an image is seen, what is counted, and what comes of it."""
