import mappers

mappers.explain("toy")
