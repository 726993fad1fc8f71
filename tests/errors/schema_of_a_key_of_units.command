2 schema units.table_lookup.num_tables
