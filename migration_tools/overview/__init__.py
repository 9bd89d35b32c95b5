"""What an operator looks at: where contexts stand, what is in the way, what was asked for; no behaviour of moves."""
