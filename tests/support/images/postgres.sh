# Like the official image: start as root, create the database and run scripts the first time, continue as postgres.
# Require no password within the container.
set -e
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown postgres "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups sh "$0" "$@"
fi
if [ ! -f "$PGDATA/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" > /tmp/password
    initdb --no-sync --username=postgres --pwfile=/tmp/password --encoding=UTF8 --locale=C.UTF-8
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -j postgres
    pg_ctl -w start -o "-c listen_addresses=''"
    for script in /docker-entrypoint-initdb.d/*.sh; do
        if [ -x "$script" ]; then "$script"; else . "$script"; fi
    done
    pg_ctl -w stop
fi
exec "$@" -c listen_addresses='*'
