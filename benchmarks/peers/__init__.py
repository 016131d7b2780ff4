"""The servers that are compared. Each is one small file and runs in a process of its own."""
