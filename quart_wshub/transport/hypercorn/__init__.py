"""The only place that knows hypercorn's internals. `install` imports the rest only where its version was tested."""
