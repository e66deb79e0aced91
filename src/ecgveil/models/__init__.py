"""Step 3: one file a published architecture. To add one, see `contract`."""

from typing import Any, NamedTuple

from ecgveil.models import beat, bilstm_cnn, conv1d, fcn, piacentino, pulse2pulse, veil, veil_looks, wavegan


class Model(NamedTuple):
    settings: Any
    generator: Any
    critic: Any
    dimensions: int = 2  # of one sample's tensor
    multiple: int = 1  # that the number of samples must be of
    needs_rhythm: bool = False
    takes_conditions: bool = False  # its critic judges under a condition
    may_learn_conditions: bool = False  # later: they come last in what a layer hears
    groups: Any = None  # features of samples, by kind, that are to be distributed as in the population
    classifies: bool = False  # its critic has a class head where conditions are exclusive classes


MODELS = {
    "beat": Model(beat.BeatSettings, beat.Generator, beat.Critic, needs_rhythm=True, takes_conditions=True),
    "bilstm-cnn": Model(bilstm_cnn.BilstmSettings, bilstm_cnn.Generator, bilstm_cnn.Critic, takes_conditions=True),
    "conv1d": Model(conv1d.Conv1dSettings, conv1d.Generator, conv1d.Critic, takes_conditions=True),
    "conv1d-ac": Model(conv1d.Conv1dSettings, conv1d.Generator, conv1d.ClassCritic, classifies=True),
    "fcn": Model(fcn.FcnSettings, fcn.Generator, fcn.Critic, dimensions=3),
    "piacentino-cnn": Model(
        piacentino.CnnSettings, piacentino.Generator, piacentino.Critic, dimensions=3, classifies=True
    ),
    "pulse2pulse": Model(
        pulse2pulse.Pulse2PulseSettings,
        pulse2pulse.Generator,
        pulse2pulse.Critic,
        multiple=2500,
        takes_conditions=True,
    ),
    "veil": Model(
        veil.VeilSettings,
        veil.Generator,
        veil.Critic,
        dimensions=1,
        needs_rhythm=True,
        takes_conditions=True,
        may_learn_conditions=True,
        groups=veil_looks.groups,
    ),
    "wavegan-star": Model(
        wavegan.WaveGanSettings, wavegan.Generator, wavegan.Critic, multiple=2500, takes_conditions=True
    ),
}
