2 diff toy mine.yaml
