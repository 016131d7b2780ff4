"""Descriptions of an app, checked with AsyncAPI's own schema and the TypeScript compiler."""
