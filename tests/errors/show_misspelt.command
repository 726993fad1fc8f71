2 show tellme
