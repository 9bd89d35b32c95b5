"""A model check of the protocol: every interleaving of a few transactions with relay, consumer, copy and hand-over."""
