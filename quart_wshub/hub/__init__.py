"""`WebSocketHub`, the methods of apps, over `HubRuntime`, which owns everything."""
