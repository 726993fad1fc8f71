2 schema tpu
