"""From a handshake to an identity."""
