"""What extracted services say alike: settings out of the environment, problem documents, health, money, OpenAPI."""
