#!/bin/sh
# Run by the image of PostgreSQL when its volume is new: a database and two roles a side, and the operator over both.
set -eu
sql() { psql -v ON_ERROR_STOP=1 -U postgres -v password="$POSTGRES_PASSWORD" "$@"; }
sql <<'SQL'
CREATE ROLE strangler LOGIN INHERIT PASSWORD :'password';
SQL
for side in shop orders; do
  sql -v owner="${side}_owner" -v app="${side}_app" -v db="$side" <<'SQL'
CREATE ROLE :"owner" LOGIN PASSWORD :'password';
CREATE ROLE :"app" LOGIN PASSWORD :'password';
CREATE DATABASE :"db" OWNER :"owner";
REVOKE ALL ON DATABASE :"db" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"db" TO :"owner", :"app", strangler;
GRANT :"owner" TO strangler;
SQL
  sql -d "$side" -v owner="${side}_owner" -v app="${side}_app" <<'SQL'
ALTER SCHEMA public OWNER TO :"owner";
GRANT USAGE ON SCHEMA public TO :"app";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT USAGE, SELECT ON SEQUENCES TO :"app";
SQL
done
