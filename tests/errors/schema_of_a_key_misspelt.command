2 schema links.depht
