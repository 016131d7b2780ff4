"""The descriptions of an app, checked by what others made: AsyncAPI's own schema, and the TypeScript compiler."""
