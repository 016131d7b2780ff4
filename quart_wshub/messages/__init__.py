"""The built-in dispatcher: what an app registers by type of message, and what runs it in the handler's place."""
