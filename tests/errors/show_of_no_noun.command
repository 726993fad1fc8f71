2 show toy --of desing
