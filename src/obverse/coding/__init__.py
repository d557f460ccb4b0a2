"""symbols <-> bits: the ANS message and the integer tables it is coded with."""

from obverse.coding.logistic_mixture import LogisticMixtures
from obverse.coding.message import Message
from obverse.coding.tables import TableFamily, quantise

__all__ = ["LogisticMixtures", "Message", "TableFamily", "quantise"]
