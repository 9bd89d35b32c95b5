"""What events look like: declared, released as JSON Schema, compared, lifted to newer versions, checked at publish."""
