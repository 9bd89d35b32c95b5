"""Where events are born, numbered, published and remembered: outbox, relay, stream, inbox, transports."""
