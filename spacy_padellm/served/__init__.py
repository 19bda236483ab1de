"""Models behind a server: the client, and how to decode with it."""
