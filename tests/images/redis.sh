exec "$@" --protected-mode no
