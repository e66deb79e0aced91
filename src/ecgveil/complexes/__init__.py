"""An ECG taken apart and put together again: one P-QRS-T complex repeated at every R peak, and the electrodes' noise.

Least squares finds the complex that, put at every R peak, explains most of a record (its time after the QRS stretched
with the RR interval, from that of a heart at 75 bpm); what it does not explain is noise, described by its power in
bands at each electrode, by how bursty it is, and by how much beats differ. What a generator then learns is a few
hundred numbers that all beats of a record share, instead of 40,000 samples, most of which are repetition or noise.
"""

from ecgveil.complexes.analysis import analyse, readable
from ecgveil.complexes.parts import BANDS, COMPLEXES, LENGTH, Parts
from ecgveil.complexes.synthesis import synthesise

__all__ = ["BANDS", "COMPLEXES", "LENGTH", "Parts", "analyse", "readable", "synthesise"]
