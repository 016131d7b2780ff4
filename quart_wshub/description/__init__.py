"""An app's messages for others to read: an AsyncAPI document, and TypeScript types."""
