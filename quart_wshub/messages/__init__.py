"""The `MessageRouter`: handlers that an app registers by message type, and the dispatcher that runs them."""
