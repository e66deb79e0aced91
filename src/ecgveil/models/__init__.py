"""Step 3: one file a published architecture. To add one, see `contract`."""

from typing import Any, NamedTuple

from ecgveil.models import beat, piacentino, pulse2pulse


class Model(NamedTuple):
    settings: Any
    generator: Any
    critic: Any
    dimensions: int = 2  # of one sample's tensor
    multiple: int = 1  # that the number of samples must be of
    needs_rhythm: bool = False
    takes_conditions: bool = False
    classifies: bool = False  # its critic has a class head where conditions are exclusive classes


MODELS = {
    "beat": Model(beat.BeatSettings, beat.Generator, beat.Critic, needs_rhythm=True, takes_conditions=True),
    "piacentino-cnn": Model(piacentino.CnnSettings, piacentino.Generator, piacentino.Critic, dimensions=3),
    "pulse2pulse": Model(
        pulse2pulse.Pulse2PulseSettings,
        pulse2pulse.Generator,
        pulse2pulse.Critic,
        multiple=1000,
        takes_conditions=True,
    ),
}
