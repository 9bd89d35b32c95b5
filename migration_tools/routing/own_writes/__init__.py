"""Reading your own writes: who wrote reads from the owner until the other side has applied what they wrote."""
