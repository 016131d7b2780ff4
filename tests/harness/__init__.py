"""For tests on a real server: the server as a subprocess, and clients this project did not write."""
