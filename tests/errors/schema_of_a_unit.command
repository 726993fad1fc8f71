2 schema units.table_lookap
