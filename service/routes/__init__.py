"""Answer HTTP requests, one file a topic."""
