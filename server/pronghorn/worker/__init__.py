"""One process: start, serve, drain."""
