#!/bin/sh
# The floor of the benchmark: the guestbook put into production by a straight script.
#
#   floor.sh apply      everything; a part whose input is as it was last time is left out
#   floor.sh redo       everything, nothing left out
#   floor.sh release    only the code in /srv/source
#
# $GUNICORN is what to install as the application server, such as gunicorn==1.2.3.
# It looks at nothing: what somebody changed on the host by hand stays changed.
set -eu

readonly SOURCE=/srv/source ROOT=/srv/guestbook STAMPS=/var/lib/floor ENVIRONMENT=/etc/guestbook.env
readonly UV=/opt/django-formula/uv/bin/uv
readonly PACKAGES='postgresql redis-server nginx supervisor python3 ca-certificates'
readonly DATABASE_PASSWORD=floor-database CACHE_PASSWORD=floor-cache SECRET_KEY=floor-secret-key
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

main() {
    mode=$1
    mkdir -p "$STAMPS"
    if [ "$mode" != release ]; then
        part packages "$PACKAGES"
        part database "$DATABASE_PASSWORD"
        part cache "$CACHE_PASSWORD"
        part user guestbook
        part settings "$DATABASE_PASSWORD $CACHE_PASSWORD $SECRET_KEY"
    fi
    part packages_of_python "$GUNICORN $(cat "$SOURCE/requirements.txt")"
    part code "$(cd "$SOURCE" && find . -type f ! -name '*.pyc' -exec sha256sum {} + | sort)"
    [ "$mode" = release ] || part web_server "$ROOT"
}

# part NAME INPUT: carry out a part, unless it was done with this input before
part() {
    digest=$(printf %s "$2" | sha256sum)
    stamp=$STAMPS/$1
    if [ "$mode" != redo ] && [ -e "$stamp" ]; then
        read -r before <"$stamp"
        [ "$before" != "$digest" ] || return 0
    fi
    "$1"
    echo "$digest" >"$stamp"
}

packages() {
    apt-get update -q
    # shellcheck disable=SC2086 # a list of names
    apt-get install -qy --no-install-recommends $PACKAGES
}

database() {
    runuser -u postgres -- psql -qX -v ON_ERROR_STOP=1 -v password="$DATABASE_PASSWORD" <<'SQL'
SELECT 'CREATE ROLE guestbook LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'guestbook') \gexec
ALTER ROLE guestbook PASSWORD :'password';
SELECT 'CREATE DATABASE guestbook OWNER guestbook'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'guestbook') \gexec
SQL
}

cache() {
    printf 'requirepass %s\nmaxmemory 128mb\n' "$CACHE_PASSWORD" >/etc/redis/guestbook.conf
    chown redis: /etc/redis/guestbook.conf
    chmod 0640 /etc/redis/guestbook.conf
    grep -q guestbook.conf /etc/redis/redis.conf ||
        echo 'include /etc/redis/guestbook.conf' >>/etc/redis/redis.conf
    systemctl restart redis-server
}

user() {
    id -u guestbook >/dev/null 2>&1 ||
        useradd --system --home-dir "$ROOT" --shell /usr/sbin/nologin guestbook
    mkdir -p "$ROOT/releases" "$ROOT/static" "$ROOT/media"
    chown guestbook:www-data "$ROOT/static" "$ROOT/media"
}

settings() {
    (umask 027 && cat >"$ENVIRONMENT") <<EOF
DJANGO_SETTINGS_MODULE=config.settings
SECRET_KEY=$SECRET_KEY
DATABASE_URL=postgres://guestbook:$DATABASE_PASSWORD@127.0.0.1:5432/guestbook
CACHE_URL=redis://:$CACHE_PASSWORD@127.0.0.1:6379/0
ALLOWED_HOSTS=localhost,127.0.0.1,$(hostname -I | tr ' ' ',')
STATIC_ROOT=$ROOT/static
MEDIA_ROOT=$ROOT/media
EOF
    chgrp guestbook "$ENVIRONMENT"
}

packages_of_python() {
    "$UV" venv --quiet --no-project --clear --python /usr/bin/python3 "$ROOT/venv"
    "$UV" pip install --quiet --compile-bytecode --python "$ROOT/venv/bin/python" \
        --requirement "$SOURCE/requirements.txt" "$GUNICORN"
}

manage() {
    # shellcheck disable=SC2016 # the inner shell expands these
    runuser -u guestbook -- sh -c \
        'set -a; . "$1"; cd "$2"; shift 2; exec ../../venv/bin/python manage.py "$@"' \
        manage "$ENVIRONMENT" "$release" "$@"
}

code() {
    release=$ROOT/releases/${digest%% *}
    [ -e "$release" ] || cp -r "$SOURCE" "$release"
    manage migrate --noinput
    manage collectstatic --noinput --verbosity 0
    ln -sfn "$release" "$ROOT/next"
    mv -T "$ROOT/next" "$ROOT/current"
    if [ -e "$ROOT/pid" ]; then
        kill -HUP "$(cat "$ROOT/pid")"
    else
        supervise
    fi
}

supervise() {
    mkdir -p /run/guestbook
    chown guestbook:www-data /run/guestbook
    cat >/etc/supervisor/conf.d/guestbook.conf <<EOF
[program:guestbook]
command=/bin/sh -c 'set -a; . $ENVIRONMENT; exec $ROOT/venv/bin/gunicorn \
 --chdir $ROOT/current --bind unix:/run/guestbook/web.sock --pid /run/guestbook/pid \
 --worker-class gthread --workers $((2 * $(nproc) + 1)) --threads 2 config.wsgi'
user=guestbook
autostart=true
autorestart=true
redirect_stderr=true
EOF
    ln -sfn /run/guestbook/pid "$ROOT/pid"
    supervisorctl update
}

web_server() {
    cat >/etc/nginx/sites-available/guestbook <<EOF
server {
    listen 80 default_server;
    client_max_body_size 20m;
    location /static/ {
        alias $ROOT/static/;
        expires max;
    }
    location /media/ {
        alias $ROOT/media/;
    }
    location / {
        proxy_pass http://unix:/run/guestbook/web.sock;
        proxy_set_header Host \$http_host;
        proxy_set_header X-Forwarded-For \$remote_addr;
        proxy_set_header X-Forwarded-Proto \$scheme;
    }
}
EOF
    ln -sfn ../sites-available/guestbook /etc/nginx/sites-enabled/guestbook
    rm -f /etc/nginx/sites-enabled/default
    nginx -q -t
    systemctl reload nginx
}

main "$@"
