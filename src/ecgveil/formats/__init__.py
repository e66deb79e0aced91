"""Files <-> records: reading any folder of WFDB records, judging each, and saying what was left out and why."""

from ecgveil.formats.inspect import REASONS, Finding, as_json, inspect, scan, summary
from ecgveil.formats.labels import PTB_CLASSES, ptb_class, ptb_three_class
from ecgveil.formats.record import Record

__all__ = [
    "PTB_CLASSES",
    "REASONS",
    "Finding",
    "Record",
    "as_json",
    "inspect",
    "ptb_class",
    "ptb_three_class",
    "scan",
    "summary",
]
