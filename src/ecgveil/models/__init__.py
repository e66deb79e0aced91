"""Step 3: one file a published architecture. To add one, see `contract`."""

from typing import Any, NamedTuple

from ecgveil.models import beat, piacentino, pulse2pulse


class Model(NamedTuple):
    settings: Any
    generator: Any
    critic: Any
    needs_rhythm: bool = False


MODELS = {
    "beat": Model(beat.BeatSettings, beat.Generator, beat.Critic, needs_rhythm=True),
    "piacentino-cnn": Model(piacentino.CnnSettings, piacentino.Generator, piacentino.Critic),
    "pulse2pulse": Model(pulse2pulse.Pulse2PulseSettings, pulse2pulse.Generator, pulse2pulse.Critic),
}
