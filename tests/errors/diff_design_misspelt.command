2 diff tellme_kv206 toy
