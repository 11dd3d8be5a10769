"""What the application sees: scopes, the request/response cycle and the lifespan, as the ASGI specification has them."""
