"""The planner page: what is stored, the file, the server, and a browser with it."""
