"""The JavaScript client: as a package, in Node, and against a real server."""
