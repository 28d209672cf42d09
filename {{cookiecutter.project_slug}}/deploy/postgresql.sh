#!/bin/sh
# Create the site's role, which is not a superuser. PostgreSQL's image runs this once, for an empty volume.
set -e
psql --quiet --set ON_ERROR_STOP=1 --username postgres --dbname "$POSTGRES_DB" \
    --set database="$POSTGRES_DB" --set password="$POSTGRES_PASSWORD" --set debug="$DEBUG" <<'SQL'
CREATE ROLE site LOGIN PASSWORD :'password';
ALTER DATABASE :"database" OWNER TO site;
\if :debug
    ALTER ROLE site CREATEDB;  -- for the database of `make test`
\endif
-- From now on the superuser logs in from within the container only.
ALTER ROLE postgres PASSWORD NULL;
SQL
