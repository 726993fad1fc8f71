2 schema tabel_lookup
