"""Other data planes than our own Envoy: what each can do, and the routing table rendered as its configuration."""
