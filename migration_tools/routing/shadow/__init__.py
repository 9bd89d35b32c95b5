"""Shadow reads: asked again of both sides, compared, counted, ruled, reported; and kept from changing anything."""
