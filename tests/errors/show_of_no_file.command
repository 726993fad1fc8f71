2 show zzz --of mapping
