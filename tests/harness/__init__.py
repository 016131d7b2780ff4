"""What the tests that need a real server share: the server as a subprocess, and clients this project did not write."""
