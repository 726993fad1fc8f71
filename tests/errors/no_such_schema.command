2 schema zzz
