"""An event store over the library eventsourcing: append-only, in PostgreSQL, in the transaction of the outbox."""
