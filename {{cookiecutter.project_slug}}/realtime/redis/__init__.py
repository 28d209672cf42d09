"""Parts of the engine that need the packages for Redis. Import them only if Redis is in use."""
