# Debian's PgBouncer, the one that the tests run; pgbouncer.sh tells it everything at its start.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends pgbouncer && rm -rf /var/lib/apt/lists/*
COPY pgbouncer.sh /usr/local/bin/pgbouncer.sh
USER nobody
CMD ["sh", "/usr/local/bin/pgbouncer.sh"]
