#!/bin/sh
# PgBouncer in transaction mode before the databases of both sides. Only the web processes' roles get in: whatever needs
# a session goes past it, to *_DB_DIRECT (see docs/how-to/run-on-many-machines.md).
set -eu
umask 077
directory=${PGBOUNCER_DIRECTORY:-/tmp/pgbouncer}
mkdir -p "$directory"
printf '"%s" "%s"\n' shop_app "$SHOP_DB_PASSWORD" orders_app "$ORDERS_DB_PASSWORD" >"$directory/users.txt"
cat >"$directory/pgbouncer.ini" <<INI
[databases]
${SHOP_DB_NAME:-shop} = host=${SHOP_DB_DIRECT%:*} port=${SHOP_DB_DIRECT##*:}
${ORDERS_DB_NAME:-orders} = host=${ORDERS_DB_DIRECT%:*} port=${ORDERS_DB_DIRECT##*:}
[pgbouncer]
listen_addr = ${PGBOUNCER_ADDRESS:-*}
listen_port = ${PGBOUNCER_PORT:-6432}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $directory/users.txt
pool_mode = transaction
default_pool_size = ${PGBOUNCER_POOL:-20}
max_client_conn = 1000
ignore_startup_parameters = extra_float_digits
INI
exec "${PGBOUNCER:-/usr/sbin/pgbouncer}" "$@" "$directory/pgbouncer.ini"
