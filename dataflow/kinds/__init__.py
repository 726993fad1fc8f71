"""The op kinds, a file for each family: a record has all that is known of its kind. This fills OP_KINDS."""

from dataflow.kinds import arrangement, attention, elementwise, movement, products, rows
from dataflow.op import OP_KINDS

for _family in (rows, elementwise, products, attention, arrangement, movement):
    OP_KINDS.update(_family.KINDS)
