"""The tests: unit, integration, races, chaos, examples, architecture."""
