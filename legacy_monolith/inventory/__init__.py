"""Stock on hand and its movements."""
